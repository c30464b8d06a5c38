"""What each data set is called, which files it consists of, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Remote:
    """A file at its publisher: addresses to try in turn, its official MD5, and about its size in bytes."""

    name: str
    urls: tuple[str, ...]
    md5: str
    size: int


@dataclass(frozen=True)
class Entry:
    """One data set. `kind` chooses the reader: embedded, idx, cifar10, cifar100, corrupted, classes or domains.

    `folders` are the names under which its folder is looked for; it counts as found when one of the files `evidence`
    is in it. `official` gives the MD5 of its uncompressed files. `address` and `tree` describe a set that cannot be
    downloaded by a program.
    """

    name: str
    title: str
    kind: str
    folders: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    remote: tuple[Remote, ...] = ()
    official: Mapping[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    domains: tuple[str, ...] | None = None
    address: str = ""
    tree: str = ""
    substitute: str = "digits"

    @property
    def size(self) -> str:
        """The size of the download in words."""
        total = sum(remote.size for remote in self.remote)
        return f"{total / 1e9:.1f} GB" if total >= 1e9 else f"{total / 1e6:.1f} MB"


_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_DIGITS = tuple(str(digit) for digit in range(10))
_IDX_NAMES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip


def _idx(
    name: str, title: str, addresses: tuple[str, ...], archives: tuple[tuple[str, int], ...], plain: tuple[str, ...],
    classes: tuple[str, ...], mean: float | None = None, deviation: float | None = None,
) -> Entry:  # fmt: skip
    return Entry(
        name, title, "idx", (name,), (f"{_IDX_NAMES[0]}.gz", _IDX_NAMES[0]),
        tuple(
            Remote(f"{file}.gz", tuple(f"{address}{file}.gz" for address in addresses), md5, size)
            for file, (md5, size) in zip(_IDX_NAMES, archives, strict=True)
        ),
        dict(zip(_IDX_NAMES, plain, strict=False)), classes,
        None if mean is None else (mean,), None if deviation is None else (deviation,),
    )  # fmt: skip


def _domains(
    name: str, title: str, folders: tuple[str, ...], domains: tuple[str, ...], inner: str, address: str
) -> Entry:
    return Entry(
        name, title, "domains", folders, domains[:1], domains=domains, address=address,
        tree=f"{folders[0]}/{{{','.join(domains)}}}/{inner}", substitute="rotated-digits",
        mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225),
    )  # fmt: skip


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_CIFAR10_STATISTICS = {"mean": (0.4914, 0.4822, 0.4465), "deviation": (0.2471, 0.2435, 0.2616)}
_CIFAR100_STATISTICS = {"mean": (0.5071, 0.4865, 0.4409), "deviation": (0.2673, 0.2564, 0.2762)}

_MNIST = _idx(
    "mnist", "handwritten digits 28 x 28, 60,000 + 10,000",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    (("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422), ("d53e105ee54ea40749a09fcbcd1e9432", 28_881),
     ("9fb629c4189551a2d022fa330f9573f3", 1_648_877), ("ec29112dd5afa0611ce80d1b7f02629c", 4_542)),
    ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
     "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    _DIGITS, 0.1307, 0.3081,
)  # fmt: skip

_ENTRIES = (
    Entry("digits", "handwritten digits 8 x 8, 1,797 images, 10 classes", "embedded"),
    Entry("breast_cancer", "tumours, 569 x 30 features, 2 classes", "embedded"),
    Entry("wine", "wines, 178 x 13 features, 3 classes", "embedded"),
    Entry("diabetes", "patients, 442 x 10 features, regression", "embedded"),
    Entry("rotated-digits", "the digits as six domains rotated by 0, 15, ..., 75 degrees", "embedded"),
    _MNIST,
    _idx(
        "fashion-mnist", "clothes 28 x 28, 60,000 + 10,000",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880), ("25c81989df183df01b3e8a0aad5dffbe", 29_515),
         ("bef4ecab320f06d8554ea6380940ec79", 4_422_102), ("bb300cfdad3c16e7a12a480ee83cd310", 5_148)),
        ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
         "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        0.2860, 0.3530,
    ),
    _idx(
        "kmnist", "cursive Japanese characters 28 x 28, 60,000 + 10,000",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (("bdb82020997e1d708af4cf47b453dcf7", 18_165_135), ("e144d726b3acfaa3e44228e80efcd344", 29_497),
         ("5c965bf0a639b31b8f53240b1b52f4d7", 3_041_136), ("7320c461ea6c1c855c0b718fb2a4b134", 5_120)),
        (), ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    Entry(
        "cifar10", "photographs 32 x 32, 50,000 + 10,000, 10 classes", "cifar10",
        ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar10"), ("test_batch.bin",),
        (Remote("cifar-10-binary.tar.gz", (f"{_TORONTO}cifar-10-binary.tar.gz",),
                "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),),
        {}, _CIFAR10_CLASSES, **_CIFAR10_STATISTICS,
    ),
    Entry(
        "cifar100", "photographs 32 x 32, 50,000 + 10,000, 100 classes", "cifar100",
        ("cifar-100-binary", "cifar-100-python", "cifar100"), ("test.bin",),
        (Remote("cifar-100-binary.tar.gz", (f"{_TORONTO}cifar-100-binary.tar.gz",),
                "03b5dce01913d631647c71ecec9e9cb8", 168_513_733),),
        {}, tuple(str(label) for label in range(100)), **_CIFAR100_STATISTICS,
    ),
    Entry(
        "cifar10-c", "CIFAR-10's test images under 19 corruptions at 5 severities", "corrupted",
        ("CIFAR-10-C",), ("labels.npy",),
        (Remote("CIFAR-10-C.tar", ("https://zenodo.org/records/2535967/files/CIFAR-10-C.tar",),
                "56bf5dcef84df0e2308c6dcbcbbd8499", 2_918_471_680),),
        {}, _CIFAR10_CLASSES, **_CIFAR10_STATISTICS,
    ),
    Entry(
        "cifar100-c", "CIFAR-100's test images under 19 corruptions at 5 severities", "corrupted",
        ("CIFAR-100-C",), ("labels.npy",),
        (Remote("CIFAR-100-C.tar", ("https://zenodo.org/records/3555552/files/CIFAR-100-C.tar",),
                "11f0ed0f1191edbf9fa23466ae6021d3", 2_918_473_216),),
        {}, tuple(str(label) for label in range(100)), **_CIFAR100_STATISTICS,
    ),
    _domains(
        "pacs", "paintings, cartoons, photographs, sketches: 9,991 images, 7 classes", ("PACS", "pacs"),
        ("art_painting", "cartoon", "photo", "sketch"), "{dog,elephant,giraffe,guitar,horse,house,person}/*.jpg",
        "https://drive.google.com/uc?id=1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd (PACS.zip, 175 MB; its folder kfold/ is PACS/), "
        "or flwrlabs/pacs on the Hugging Face hub, saved as these folders",
    ),
    _domains(
        "vlcs", "photographs of four collections, 10,729 images, 5 classes", ("VLCS", "vlcs"),
        ("Caltech101", "LabelMe", "SUN09", "VOC2007"), "{bird,car,chair,dog,person}/*.jpg",
        "https://drive.google.com/uc?id=1skwblH1_okBwxWxmRsp9_qi15hyPpxg8 (VLCS.tar.gz, 3.6 GB)",
    ),
    _domains(
        "office-home", "office and home objects, 15,588 images, 65 classes",
        ("office_home", "OfficeHomeDataset_10072016", "OfficeHome", "office-home"),
        ("Art", "Clipart", "Product", "Real World"), "<65 classes>/*.jpg",
        "https://drive.google.com/uc?id=1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC (office_home.zip, 1.1 GB), "
        "or flwrlabs/office-home on the Hugging Face hub, saved as these folders",
    ),
    _domains(
        "terra-incognita", "camera-trap animals at four locations, 24,788 images, 10 classes",
        ("terra_incognita", "terra-incognita", "TerraIncognita"),
        ("location_100", "location_38", "location_43", "location_46"),
        "{bird,bobcat,cat,coyote,dog,empty,opossum,rabbit,raccoon,squirrel}/*.jpg",
        "https://storage.googleapis.com/public-datasets-lila/caltechcameratraps/eccv_18_all_images_sm.tar.gz and "
        "eccv_18_annotations.tar.gz (6 GB), sorted into locations and classes by the annotations",
    ),
    _domains(
        "domain-net", "six kinds of drawings and photographs, 586,575 images, 345 classes",
        ("domain_net", "domain-net", "DomainNet"),
        ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"), "<345 classes>/*.jpg",
        "http://csr.bu.edu/ftp/visda/2019/multi-source/ (six zip files, 18 GB; leave out the published duplicates)",
    ),
    replace(
        _MNIST, name="rotated-mnist", title="MNIST as six domains rotated by 0, 15, ..., 75 degrees",
        substitute="rotated-digits",
    ),
    Entry(
        "image-folder", "your own images: class/image, or train/class/image and test/class/image", "classes",
        tree="<root>/<class>/*.{jpg,png,bmp,ppm} or <root>/{train,test}/<class>/*",
    ),
    Entry(
        "domain-folder", "your own images by domain: domain/class/image", "domains",
        tree="<root>/<domain>/<class>/*.{jpg,png,bmp,ppm}", substitute="rotated-digits",
    ),
)  # fmt: skip

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def entry(name: str) -> Entry:
    """The entry of a name; case, hyphens, underscores and blanks do not matter."""
    wanted = _bare(name)
    for known in ENTRIES.values():
        if _bare(known.name) == wanted:
            return known
    raise ValueError(f"no data set called {name!r}; there are {', '.join(ENTRIES)}")


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()
