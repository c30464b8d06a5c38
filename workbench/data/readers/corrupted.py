"""CIFAR-10-C and CIFAR-100-C: one memory-mapped .npy file per corruption, severities one after the other."""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np

from workbench.data.errors import DataError
from workbench.data.fetching import verified
from workbench.data.readers import files
from workbench.data.readers.raw import Raw

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip
SEVERITIES = 5


def read_array(path: Path) -> np.ndarray:
    """A memory-mapped .npy array; nothing is read but the header, and Python objects are refused."""
    damaged = (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError, OverflowError)
    try:
        with files.reading(path):
            return np.lib.format.open_memmap(path, mode="r")
    except DataError:
        raise
    except (*damaged, tokenize.TokenError) as error:
        raise DataError(f"{path} is no readable .npy file: {error}") from error


def check(corruption: str, severity: int) -> None:
    """ValueError unless there is such a corruption and severity."""
    if corruption not in CORRUPTIONS:
        raise ValueError(f"corruption must be one of {', '.join(CORRUPTIONS)}, got {corruption!r}")
    if severity not in range(1, SEVERITIES + 1):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")


def read_severity(folder: Path, corruption: str, severity: int, class_names: tuple[str, ...], source: str) -> Raw:
    """The test images under one corruption at one severity (1..5); the training part is empty."""
    image_path, label_path = files.inside(folder, f"{corruption}.npy"), files.inside(folder, "labels.npy")
    images, labels = _images(image_path), _labels(label_path, len(class_names))
    if len(images) % SEVERITIES or len(labels) != len(images):
        raise DataError(
            f"{image_path} must hold {SEVERITIES} equal parts and as many images as {label_path} has labels "
            f"({len(labels)}), and holds {len(images)}"
        )
    each = len(images) // SEVERITIES
    rows = slice((severity - 1) * each, severity * each)
    pixels = np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2))
    listed = verified.matches(folder, [image_path, label_path], rehash=False)
    return Raw(
        pixels[:0],
        labels[:0],
        class_names,
        255.0,
        f"{source}, {corruption} at severity {severity}",
        "official archive, not rehashed" if listed else "local, not verified",
        pixels,
        labels[rows],
    )


def _images(path: Path) -> np.ndarray:
    images = read_array(path)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) == 0:
        raise DataError(f"{path} must hold n x 32 x 32 x 3 bytes, not {images.shape} {images.dtype}")
    if not images.flags.c_contiguous:
        raise DataError(f"{path} is stored column by column (Fortran order); the official files are not")
    return images


def _labels(path: Path, n_classes: int) -> np.ndarray:
    labels = read_array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path} must hold one row of integers, not {labels.shape} {labels.dtype}")
    labels = np.asarray(labels)
    wrong = (labels < 0) | (labels >= n_classes)
    if wrong.any():
        where = int(np.argmax(wrong))
        raise DataError(f"{path}: label {labels[where]} at entry {where}; there are {n_classes} classes")
    return labels.astype(np.int64)
