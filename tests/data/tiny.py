"""Valid miniature data sets in every format, for tests to read and to damage."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def numbers(*shape: int, seed: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(top: Path, compressed: bool = True) -> Path:
    folder = top / "mnist"
    folder.mkdir(parents=True)
    arrays = {
        TRAIN_IMAGES: numbers(30, 28, 28), TRAIN_LABELS: np.arange(30, dtype=np.uint8) % 10,
        TEST_IMAGES: numbers(20, 28, 28, seed=1), TEST_LABELS: np.arange(20, dtype=np.uint8) % 10,
    }  # fmt: skip
    for name, array in arrays.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
        else:
            (folder / name).write_bytes(idx_bytes(array))
    return folder


def cifar_records(n: int, label_limits: tuple[int, ...] = (10,), seed: int = 0) -> np.ndarray:
    labels = [np.arange(n) % limit for limit in label_limits]
    return np.concatenate([np.stack(labels, 1).astype(np.uint8), numbers(n, 3072, seed=seed)], 1)


def cifar10(top: Path, batches: int = 2) -> Path:
    folder = top / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(1, batches + 1):
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_records(20, seed=number).tobytes())
    (folder / "test_batch.bin").write_bytes(cifar_records(10, seed=9).tobytes())
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    return folder


def cifar100(top: Path) -> Path:
    folder = top / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(cifar_records(200, (20, 100)).tobytes())
    (folder / "test.bin").write_bytes(cifar_records(100, (20, 100), seed=1).tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing {number}" for number in range(100)))
    return folder


def cifar10c(top: Path, each: int = 4) -> Path:
    folder = top / "CIFAR-10-C"
    folder.mkdir(parents=True)
    np.save(folder / "fog.npy", numbers(5 * each, 32, 32, 3))
    np.save(folder / "labels.npy", np.tile(np.arange(each, dtype=np.uint8), 5))
    return folder


def image(path: Path, rows: int = 6, columns: int = 6, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers(rows, columns, 3, seed=seed)).save(path)


def classes(folder: Path, names: tuple[str, ...] = ("cat", "dog"), each: int = 4, suffix: str = "png") -> Path:
    for label, name in enumerate(names):
        for number in range(each):
            image(folder / name / f"{number}.{suffix}", seed=10 * label + number)
    return folder


def domains(folder: Path, names: tuple[str, ...] = ("art", "photo", "sketch")) -> Path:
    for name in names:
        classes(folder / name)
    return folder


def archive(path: Path, members: dict[str, bytes | tarfile.TarInfo] | list, mode: str = "w:gz") -> bytes:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items() if isinstance(members, dict) else members:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()
