"""Data sets that ship inside scikit-learn: no network, no folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from workbench.data.readers.raw import Raw


@functools.cache
def digits() -> Raw:
    """1,797 images of handwritten digits, 8 x 8, values 0..16 (the test part of the UCI optical-digits set)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    names = tuple(str(digit) for digit in range(10))
    return _raw(bunch.images[:, None].astype(np.uint8), bunch.target, names, "load_digits", scale=16.0)


@functools.cache
def breast_cancer() -> Raw:
    """569 tumours, 30 features that differ by a factor 1e4 in scale, 2 classes."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    return _raw(bunch.data, bunch.target, tuple(map(str, bunch.target_names)), "load_breast_cancer")


@functools.cache
def wine() -> Raw:
    """178 wines, 13 features, 3 classes."""
    from sklearn.datasets import load_wine

    bunch: Any = load_wine()
    return _raw(bunch.data, bunch.target, tuple(map(str, bunch.target_names)), "load_wine")


@functools.cache
def diabetes() -> Raw:
    """442 patients, 10 features, a target 25..346: regression."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes()
    return _raw(bunch.data, bunch.target, (), "load_diabetes")


def _raw(inputs: np.ndarray, targets: np.ndarray, names: tuple[str, ...], function: str, scale: float = 1.0) -> Raw:
    kind = np.int64 if names else np.float64
    return Raw(inputs, targets.astype(kind), names, scale, f"embedded in scikit-learn ({function})", "embedded")


EMBEDDED: dict[str, Callable[[], Raw]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "wine": wine,
    "diabetes": diabetes,
}
