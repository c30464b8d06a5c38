"""The IDX format of MNIST and its relatives: two zero bytes, a type, the number of dimensions, sizes, data."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.readers import files
from workbench.data.readers.raw import Raw

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
NAMES = (f"train-{IMAGES}", f"train-{LABELS}", f"t10k-{IMAGES}", f"t10k-{LABELS}")
_BYTES = 0x08
_LIMIT = 1 << 30
"""No set of this format is larger; a header that says so is damaged (or a small .gz file that unpacks to a huge one)."""


def read_idx(path: Path, dimensions: int) -> tuple[np.ndarray, str]:
    """The bytes of one IDX file (plain, or .gz by its name) as an array, and the MD5 of the uncompressed file."""
    opener = gzip.open if path.suffix == ".gz" else open
    with files.reading(path), opener(path, "rb") as file:
        head = file.read(4 + 4 * dimensions)
        if head[:4] != bytes((0, 0, _BYTES, dimensions)):
            wanted, found = (0, 0, _BYTES, dimensions), tuple(head[:4])
            raise DataError(
                f"{path} is no IDX file of {dimensions}-dimensional bytes: starts with {found}, not {wanted}"
            )
        if len(head) < 4 + 4 * dimensions:
            raise DataError(f"{path} is truncated: {len(head)} bytes, the header alone has {4 + 4 * dimensions}")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        length = math.prod(shape)
        if not 0 < length <= _LIMIT:
            raise DataError(f"{path} states the shape {shape}, which is empty or larger than {_LIMIT:,} bytes")
        body = file.read(length + 1)
    if len(body) != length:
        found = f"{len(body):,}" if len(body) < length else "more"
        raise DataError(f"{path} should hold {length:,} bytes of data for its shape {shape} but holds {found}")
    return np.frombuffer(body, np.uint8).reshape(shape), files.md5(head + body)


def read_folder(folder: Path, official: Mapping[str, str], class_names: tuple[str, ...], source: str) -> Raw:
    """The four files of an MNIST-like set; "official" if all four uncompressed files have the published MD5."""
    arrays, verified = [], True
    for name in NAMES:
        path = _plain_or_compressed(folder, name)
        array, digest = read_idx(path, 3 if name.endswith(IMAGES) else 1)
        verified &= official.get(name) == digest
        arrays.append((path, array))
    parts = []
    for (image_path, images), (label_path, labels) in (arrays[:2], arrays[2:]):
        if images.shape[1:] != (28, 28):
            raise DataError(f"{image_path} holds images of {images.shape[1]} x {images.shape[2]} pixels, not 28 x 28")
        if len(images) != len(labels):
            raise DataError(f"{label_path} holds {len(labels)} labels for the {len(images)} images of {image_path}")
        if labels.max() >= len(class_names):
            where = int(np.argmax(labels >= len(class_names)))
            raise DataError(
                f"{label_path}: label {labels[where]} at entry {where}; there are {len(class_names)} classes"
            )
        parts.append((images[:, None], labels.astype(np.int64)))
    (images, labels), (test_images, test_labels) = parts
    verification = "official" if verified else "local, not verified"
    return Raw(images, labels, class_names, 255.0, source, verification, test_images, test_labels)


def _plain_or_compressed(folder: Path, name: str) -> Path:
    for candidate in (f"{name}.gz", name):
        path = files.inside(folder, candidate)
        if path.exists():
            return path
    raise DataNotFoundError(f"{folder / name}.gz is missing (nor is there {name} without .gz)")
