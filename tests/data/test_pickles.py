"""Pickles can run code: in every place and guise they are refused with a documented error, and none is opened."""

import bz2
import gzip
import hashlib
import io
import os
import pickle
from pathlib import Path

import damage
import numpy as np
import pytest
import tiny

from workbench import data
from workbench.data import catalogue
from workbench.data.fetching import download

DOCUMENTED = (data.DataError, data.DataNotFoundError)


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


BATCH = {b"data": tiny.numbers(10, 3072), b"labels": list(range(10)), b"batch_label": b"testing batch 1 of 1"}
PYTHON10 = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch", "batches.meta"]
PYTHON100 = ["train", "test", "meta"]


def _python_layout(folder, attack, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(pickle.dumps([BATCH, attack], protocol=2))
    return folder


def _layout(folder, names=PYTHON10, set_name="cifar10"):
    return set_name, lambda top, attack: _python_layout(top / folder, attack, names)


def _posing(name, change=lambda pickled: pickled, make=tiny.cifar10, set_name="cifar10"):
    """A valid set in which the pickle, changed by `change`, stands in the place of one file."""

    def build(top, attack):
        return damage.put(name, change(pickle.dumps([BATCH, attack], protocol=4)))(make(top))

    return set_name, build


def _padded(length):
    return lambda pickled: pickled + bytes(-len(pickled) % length)


def _array_of(top, attack):
    buffer = io.BytesIO()
    np.save(buffer, np.array([attack, BATCH], dtype=object), allow_pickle=True)
    return damage.put("fog.npy", buffer.getvalue())(tiny.cifar10c(top))


def _labels_of(top, attack):
    buffer = io.BytesIO()
    np.save(buffer, np.array([attack] * 20, dtype=object), allow_pickle=True)
    return damage.put("labels.npy", buffer.getvalue())(tiny.cifar10c(top))


PICKLES = {
    "the Python layout": _layout("cifar-10-batches-py"),
    "in the folder of the binary one": _layout("cifar-10-batches-bin"),
    "in a folder of the short name": _layout("cifar10"),
    "in the folder given": _layout("."),
    "without the names": _layout("cifar-10-batches-py", PYTHON10[:-1]),
    "only a test batch": _layout("cifar-10-batches-py", ["test_batch"]),
    "only training batches": _layout("cifar-10-batches-py", PYTHON10[:5]),
    "named .pkl": _layout("cifar-10-batches-py", [f"{name}.pkl" for name in PYTHON10]),
    "named .bin": _layout("cifar-10-batches-bin", [f"{name}.bin" for name in PYTHON10]),
    "CIFAR-100's Python layout": _layout("cifar-100-python", PYTHON100, "cifar100"),
    "CIFAR-100's, in the binary folder": _layout("cifar-100-binary", PYTHON100, "cifar100"),
    "CIFAR-100's, named .bin": _layout("cifar-100-binary", ["train.bin", "test.bin"], "cifar100"),
    "a training batch": _posing("data_batch_1.bin"),
    "a test batch": _posing("test_batch.bin"),
    "a batch as long as records": _posing("data_batch_2.bin", _padded(3073)),
    "a test batch as long as records": _posing("test_batch.bin", _padded(3073)),
    "a compressed batch": _posing("data_batch_1.bin", gzip.compress),
    "a batch in bzip2": _posing("data_batch_1.bin", bz2.compress),
    "a batch in protocol 0": _posing("data_batch_1.bin", lambda pickled: pickle.dumps(pickle.loads(b"I1\n."), 0)),
    "the names": _posing("batches.meta.txt"),
    "the note of verification": _posing(".workbench-verified.json"),
    "CIFAR-100's training part": _posing("train.bin", _padded(3074), tiny.cifar100, "cifar100"),
    "CIFAR-100's test part": _posing("test.bin", _padded(3074), tiny.cifar100, "cifar100"),
    "CIFAR-100's names": _posing("fine_label_names.txt", make=tiny.cifar100, set_name="cifar100"),
    "images of MNIST": _posing(f"{tiny.TRAIN_IMAGES}.gz", make=tiny.mnist, set_name="mnist"),
    "images of MNIST, compressed": _posing(f"{tiny.TRAIN_IMAGES}.gz", gzip.compress, tiny.mnist, "mnist"),
    "labels of MNIST, compressed": _posing(f"{tiny.TRAIN_LABELS}.gz", gzip.compress, tiny.mnist, "mnist"),
    "a corruption": _posing("fog.npy", make=tiny.cifar10c, set_name="cifar10-c"),
    "an array of objects": ("cifar10-c", _array_of),
    "labels that are objects": ("cifar10-c", _labels_of),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_refused_unopened(tmp_path, name):
    set_name, build = PICKLES[name]
    marker = tmp_path / "was opened"
    build(tmp_path / "top", Attack(marker))
    with pytest.raises(DOCUMENTED, match=str(tmp_path / "top")):
        data.load_corrupted("fog", 1, root=tmp_path / "top") if set_name == "cifar10-c" else data.load(
            set_name, root=tmp_path / "top"
        )
    assert not marker.exists()


def test_the_python_layout_is_named_as_the_reason(tmp_path):
    _python_layout(tmp_path / "cifar-10-batches-py", None, PYTHON10)
    with pytest.raises(data.DataNotFoundError, match=r"cifar-10-batches-py \(holds pickles, .* never opened"):
        data.load("cifar10", root=tmp_path)
    tiny.cifar10(tmp_path)
    assert len(data.load("cifar10", root=tmp_path).train_inputs) == 40


@pytest.mark.parametrize("top", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_an_archive_of_pickles_is_unpacked_and_refused(tmp_path, monkeypatch, top):
    marker, home = tmp_path / "was opened", tmp_path / "home"
    attack = pickle.dumps([BATCH, Attack(marker)])
    content = tiny.archive(tmp_path / "archive", {f"{top}/{name}": attack for name in PYTHON10})
    remote = catalogue.Remote(
        "cifar-10-binary.tar.gz", ("nowhere",), hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content)
    )
    home.mkdir()
    (home / remote.name).write_bytes(content)  # as downloaded: its checksum is right
    changed = {**catalogue.ENTRIES, "cifar10": catalogue.replace(catalogue.ENTRIES["cifar10"], remote=(remote,))}
    monkeypatch.setattr(catalogue, "ENTRIES", changed)
    with pytest.raises(data.DataNotFoundError, match="holds pickles"):
        data.load("cifar10", root=home, download=True)
    assert not marker.exists()


def test_nothing_in_the_package_imports_pickle():
    for path in Path(download.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path.name
        assert "allow_pickle=True" not in text, path.name
        assert "torch.load" not in text, path.name
