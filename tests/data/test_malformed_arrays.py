"""Array files that are damaged: one of the two documented errors comes out, and it names the file.

Each table maps what is wrong to a function that damages a valid miniature set and returns the damaged path.
"""

import gzip
import io
import struct

import damage
import numpy as np
import pytest
import tiny

from workbench import data

DOCUMENTED = (data.DataError, data.DataNotFoundError)

IMAGES, LABELS = tiny.TRAIN_IMAGES, tiny.TRAIN_LABELS
IDX = {
    "empty file": damage.gz(IMAGES, lambda b: b""),
    "empty stream": damage.idx(IMAGES, lambda b: b""),
    "not gzip": damage.gz(IMAGES, lambda b: b"PK\3\4" + b[4:]),
    "half the gzip": damage.gz(IMAGES, lambda b: b[: len(b) // 2]),
    "gzip without its end": damage.gz(IMAGES, lambda b: b[:-1]),
    "gzip with a wrong checksum": damage.gz(IMAGES, lambda b: b[:-8] + b"\0\0\0\0" + b[-4:]),
    "flipped bits in the stream": damage.gz(IMAGES, lambda b: b[:40] + bytes(255 - x for x in b[40:60]) + b[60:]),
    "bytes after the gzip": damage.gz(IMAGES, lambda b: b + b"rubbish"),
    "only a magic number": damage.idx(IMAGES, lambda b: b[:4]),
    "half a header": damage.idx(IMAGES, lambda b: b[:10]),
    "magic of labels": damage.idx(IMAGES, lambda b: b"\0\0\x08\1" + b[4:]),
    "magic of floats": damage.idx(IMAGES, lambda b: b"\0\0\x0d\3" + b[4:]),
    "little-endian magic": damage.idx(IMAGES, lambda b: b[3::-1] + b[4:]),
    "magic of images in labels": damage.idx(LABELS, lambda b: b"\0\0\x08\3" + b[4:]),
    "one byte short": damage.idx(IMAGES, lambda b: b[:-1]),
    "one byte too many": damage.idx(IMAGES, lambda b: b + b"\0"),
    "no images": damage.idx(IMAGES, lambda b: b[:4] + struct.pack(">3I", 0, 28, 28)),
    "huge count": damage.idx(IMAGES, lambda b: b[:4] + struct.pack(">3I", 2**32 - 1, 28, 28) + b[16:]),
    "huge everything": damage.idx(IMAGES, lambda b: b[:4] + b"\xff" * 12 + b[16:]),
    "count one too many": damage.idx(IMAGES, lambda b: b[:4] + struct.pack(">3I", 31, 28, 28) + b[16:]),
    "other image size": damage.idx(IMAGES, lambda b: b[:4] + struct.pack(">3I", 30, 14, 56) + b[16:]),
    "label 10": damage.idx(LABELS, lambda b: b[:-1] + b"\x0a"),
    "label 255": damage.idx(LABELS, lambda b: b[:9] + b"\xff" + b[10:]),
    "a label too few": damage.idx(LABELS, lambda b: b[:4] + struct.pack(">I", 29) + b[8:-1]),
    "labels missing": damage.missing(f"{LABELS}.gz"),
    "test images missing": damage.missing(f"{tiny.TEST_IMAGES}.gz"),
    "a folder for a file": damage.is_folder(f"{LABELS}.gz"),
    "link out of the folder": damage.link_out(f"{LABELS}.gz"),
    "link to itself": damage.link_to_itself(f"{LABELS}.gz"),
    "text": damage.gz(IMAGES, lambda b: b"<html>404</html>"),
}


@pytest.mark.parametrize("name", IDX)
def test_malformed_idx(tmp_path, name):
    folder = tiny.mnist(tmp_path / "top")
    damaged = IDX[name](folder)
    with pytest.raises(DOCUMENTED, match=damaged.name.removesuffix(".gz").split("-")[-2]) as caught:
        data.load("mnist", root=tmp_path / "top")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["one byte short", "one byte too many", "empty", "gzip without .gz", "no images"])
def test_malformed_idx_without_compression(tmp_path, name):
    folder = tiny.mnist(tmp_path / "top", compressed=False)
    changes = {
        "one byte short": lambda b: b[:-1],
        "one byte too many": lambda b: b + b"\0",
        "empty": lambda b: b"",
        "gzip without .gz": gzip.compress,
        "no images": lambda b: b[:4] + bytes(12),
    }
    path = folder / IMAGES
    path.write_bytes(changes[name](path.read_bytes()))
    with pytest.raises(data.DataError, match=IMAGES):
        data.load("mnist", root=tmp_path / "top")


R = 3073
CIFAR10 = {
    "empty batch": damage.put("data_batch_1.bin", b""),
    "one byte": damage.put("data_batch_1.bin", b"\0"),
    "one byte short": damage.put("data_batch_1.bin", lambda b: b[:-1]),
    "one byte too many": damage.put("data_batch_2.bin", lambda b: b + b"\0"),
    "half a record": damage.put("data_batch_1.bin", lambda b: b[: R * 3 + R // 2]),
    "a record without label": damage.put("data_batch_1.bin", lambda b: b[1:]),
    "records of CIFAR-100": damage.put("data_batch_1.bin", tiny.cifar_records(7, (20, 100)).tobytes()),
    "label 10": damage.put("data_batch_1.bin", lambda b: b"\x0a" + b[1:]),
    "label 255 in the last record": damage.put("data_batch_2.bin", lambda b: b[: 19 * R] + b"\xff" + b[19 * R + 1 :]),
    "label 10 in the test batch": damage.put("test_batch.bin", lambda b: b[: 4 * R] + b"\x0a" + b[4 * R + 1 :]),
    "test batch empty": damage.put("test_batch.bin", b""),
    "test batch truncated": damage.put("test_batch.bin", lambda b: b[:5000]),
    "a web page": damage.put("data_batch_1.bin", b"<html>404</html>"),
    "a batch is a folder": damage.is_folder("data_batch_2.bin"),
    "the test batch is a folder": damage.is_folder("test_batch.bin"),
    "a batch leads out": damage.link_out("data_batch_1.bin"),
    "the test batch leads out": damage.link_out("test_batch.bin"),
    "names lead out": damage.link_out("batches.meta.txt"),
    "a batch links to itself": damage.link_to_itself("data_batch_2.bin"),
    "nine names": damage.put("batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\n"),
    "eleven names": damage.put("batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n"),
    "a name twice": damage.put("batches.meta.txt", b"a\na\nc\nd\ne\nf\ng\nh\ni\nj\n"),
    "no names": damage.put("batches.meta.txt", b""),
    "names in no encoding": damage.put("batches.meta.txt", b"\xff\xfe\xfa\n" * 10),
    "endless names": damage.put("batches.meta.txt", b"x" * (1 << 17)),
    "names are a folder": damage.is_folder("batches.meta.txt"),
    "verification note is no JSON": damage.put(".workbench-verified.json", b"{"),
    "verification note is a list": damage.put(".workbench-verified.json", b"[1, 2]"),
    "verification note says nothing": damage.put(".workbench-verified.json", b'{"sha256": 3}'),
}


@pytest.mark.parametrize("name", CIFAR10)
def test_malformed_cifar10(tmp_path, name):
    damaged = CIFAR10[name](tiny.cifar10(tmp_path / "top"))
    with pytest.raises(DOCUMENTED, match=damaged.name.split(".")[0] or damaged.name):
        data.load("cifar10", root=tmp_path / "top")


def test_cifar10_without_training_batches_is_not_found(tmp_path):
    folder = tiny.cifar10(tmp_path / "top", batches=0)
    with pytest.raises(data.DataNotFoundError, match=r"data_batch_1\.bin"):
        data.load("cifar10", root=folder)


S = 3074
CIFAR100 = {
    "empty": damage.put("train.bin", b""),
    "one byte": damage.put("train.bin", b"\1"),
    "one byte short": damage.put("train.bin", lambda b: b[:-1]),
    "one byte too many": damage.put("train.bin", lambda b: b + b"\0"),
    "half a record": damage.put("train.bin", lambda b: b[: S // 2]),
    "records of CIFAR-10": damage.put("train.bin", tiny.cifar_records(10).tobytes()),
    "coarse label 20": damage.put("train.bin", lambda b: b"\x14" + b[1:]),
    "fine label 100": damage.put("train.bin", lambda b: b[:1] + b"\x64" + b[2:]),
    "coarse label 255 at the end": damage.put("train.bin", lambda b: b[: 199 * S] + b"\xff" + b[199 * S + 1 :]),
    "labels exchanged": damage.put("train.bin", lambda b: b[: 50 * S] + b"\x32\x0a" + b[50 * S + 2 :]),
    "test empty": damage.put("test.bin", b""),
    "test truncated": damage.put("test.bin", lambda b: b[:3000]),
    "test label 100": damage.put("test.bin", lambda b: b[:1] + b"\xff" + b[2:]),
    "test coarse label": damage.put("test.bin", lambda b: b"\xff" + b[1:]),
    "training missing": damage.missing("train.bin"),
    "training is a folder": damage.is_folder("train.bin"),
    "test is a folder": damage.is_folder("test.bin"),
    "training leads out": damage.link_out("train.bin"),
    "test leads out": damage.link_out("test.bin"),
    "names lead out": damage.link_out("fine_label_names.txt"),
    "99 names": damage.put("fine_label_names.txt", lambda b: b.split(b"\n", 1)[1]),
    "101 names": damage.put("fine_label_names.txt", lambda b: b + b"\nmore"),
    "names in no encoding": damage.put("fine_label_names.txt", b"\xff\n" * 100),
}


@pytest.mark.parametrize("name", CIFAR100)
def test_malformed_cifar100(tmp_path, name):
    damaged = CIFAR100[name](tiny.cifar100(tmp_path / "top"))
    with pytest.raises(DOCUMENTED, match=damaged.name):
        data.load("cifar100", root=tmp_path / "top")


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _labels(*values):
    return damage.put("labels.npy", _npy(np.array(values)))


ROWS = 20
CORRUPTED = {
    "empty": damage.put("fog.npy", b""),
    "only the magic string": damage.put("fog.npy", b"\x93NUMPY"),
    "half a header": damage.put("fog.npy", lambda b: b[:40]),
    "unknown version": damage.put("fog.npy", lambda b: b[:6] + b"\x09\x00" + b[8:]),
    "header is no dictionary": damage.put("fog.npy", lambda b: b[:10] + b"[1, 2, 3]".ljust(118) + b[128:]),
    "header runs code": damage.put(
        "fog.npy", lambda b: b[:10] + b"__import__('os').system('exit')".ljust(118) + b[128:]
    ),
    "header is deeply nested": damage.put("fog.npy", lambda b: b[:10] + (b"(" * 117).ljust(118) + b[128:]),
    "negative shape": damage.put("fog.npy", lambda b: b.replace(b"(20, 32", b"(-2, 32", 1)),
    "overflowing shape": damage.put(
        "fog.npy", lambda b: b.replace(b"(20, 32, 32, 3), }        ", b"(99999999999999999999,), }")
    ),
    "one byte short": damage.put("fog.npy", lambda b: b[:-1]),
    "half the data": damage.put("fog.npy", lambda b: b[: len(b) // 2]),
    "an .npz file": damage.put("fog.npy", b"PK\3\4" + bytes(100)),
    "a web page": damage.put("fog.npy", b"<html>404</html>"),
    "python objects": damage.put("fog.npy", _npy(np.array([{"a": 1}], dtype=object))),
    "floats": damage.put("fog.npy", _npy(np.zeros((ROWS, 32, 32, 3)))),
    "grey images": damage.put("fog.npy", _npy(np.zeros((ROWS, 32, 32), np.uint8))),
    "channels first": damage.put("fog.npy", _npy(np.zeros((ROWS, 3, 32, 32), np.uint8))),
    "no images": damage.put("fog.npy", _npy(np.zeros((0, 32, 32, 3), np.uint8))),
    "a single number": damage.put("fog.npy", _npy(np.uint8(3))),
    "no multiple of five": damage.put("fog.npy", _npy(np.zeros((19, 32, 32, 3), np.uint8))),
    "fewer than the labels": damage.put("fog.npy", _npy(np.zeros((15, 32, 32, 3), np.uint8))),
    "column by column": damage.put("fog.npy", _npy(np.asfortranarray(tiny.numbers(ROWS, 32, 32, 3)))),
    "missing": damage.missing("fog.npy"),
    "a folder": damage.is_folder("fog.npy"),
    "leads out": damage.link_out("fog.npy"),
    "links to itself": damage.link_to_itself("fog.npy"),
    "label 10": _labels(*[0] * 19, 10),
    "label -1": _labels(-1, *[0] * 19),
    "labels are floats": _labels(*[0.5] * 20),
    "labels in two columns": _labels(*[[0, 1]] * 20),
    "labels lead out": damage.link_out("labels.npy"),
    "labels are empty": damage.put("labels.npy", b""),
}


@pytest.mark.parametrize("name", CORRUPTED)
def test_malformed_cifar10c(tmp_path, name):
    damaged = CORRUPTED[name](tiny.cifar10c(tmp_path / "top"))
    with pytest.raises(DOCUMENTED, match=damaged.name):
        data.load_corrupted("fog", 1, root=tmp_path / "top")
