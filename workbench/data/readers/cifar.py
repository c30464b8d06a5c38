"""CIFAR-10 and CIFAR-100 in their binary layout; the Python layout consists of pickles and is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.fetching import verified
from workbench.data.readers import files
from workbench.data.readers.raw import Raw

_PIXELS = 3 * 32 * 32
_LIMIT = 1 << 30


def read_binary(path: Path, label_limits: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images (record, 3, 32, 32) and the last label of each record.

    A record is one label byte per entry of `label_limits` (CIFAR-10: (10,); CIFAR-100: coarse and fine, (20, 100)) and
    three planes of 32 x 32 bytes.
    """
    data = files.contents(path, _LIMIT)
    record = len(label_limits) + _PIXELS
    if not data or len(data) % record:
        raise DataError(
            f"{path} has {len(data):,} bytes, which is no multiple of the record length {record}: truncated, or of another kind"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    for column, limit in enumerate(label_limits):
        wrong = records[:, column] >= limit
        if wrong.any():
            where = int(np.argmax(wrong))
            raise DataError(f"{path}: label {records[where, column]} in record {where}; there are {limit} classes")
    labels = records[:, len(label_limits) - 1].astype(np.int64)
    return records[:, len(label_limits) :].reshape(-1, 3, 32, 32), labels


def read_names(path: Path, count: int) -> tuple[str, ...]:
    """Class names, one per line; empty lines do not count."""
    try:
        lines = files.contents(path, 1 << 16).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file: {error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != count or len(names) != count:
        raise DataError(f"{path} must name {count} different classes, one per line, and names {len(names)}")
    return names


def read_folder(folder: Path, class_names: tuple[str, ...], source: str) -> Raw:
    """A CIFAR folder in the binary layout; a local CIFAR-10 may have fewer than five batches.

    Ten `class_names` mean CIFAR-10, a hundred CIFAR-100; a file of names in the folder takes their place.
    """
    classes = len(class_names)
    limits = (10,) if classes == 10 else (20, 100)
    if classes == 10:
        candidates = [files.inside(folder, f"data_batch_{number}.bin") for number in range(1, 6)]
        paths = [path for path in candidates if path.exists()]
        test_path, meta = files.inside(folder, "test_batch.bin"), files.inside(folder, "batches.meta.txt")
        missing = candidates[0]
    else:
        missing = files.inside(folder, "train.bin")
        paths = [missing] if missing.exists() else []
        test_path, meta = files.inside(folder, "test.bin"), files.inside(folder, "fine_label_names.txt")
    if not paths:
        raise DataNotFoundError(f"{missing} is missing")
    names = read_names(meta, classes) if meta.exists() else class_names
    parts = [read_binary(path, limits) for path in paths]
    test_images, test_labels = read_binary(test_path, limits)
    checked = verified.matches(folder, [*paths, test_path])
    return Raw(
        np.concatenate([images for images, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        names,
        255.0,
        source if len(paths) == 5 or classes == 100 else f"{source}, {len(paths)} of 5 training batches",
        "official" if checked else "local, not verified",
        test_images,
        test_labels,
    )
