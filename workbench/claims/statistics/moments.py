"""Mean, standard deviation and skewness that no constant sample and no scale 2^k can disturb."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

EPS = float(np.finfo(float).eps)
ROUNDING = 8 * EPS
"""Relative size below which a difference is rounding, where a card states no computed error (chosen, not measured)."""


class Moments(NamedTuple):
    """Sample mean, standard deviation (n - 1) and bias-corrected skewness G1 = g1 sqrt(n (n - 1)) / (n - 2)."""

    mean: float
    sd: float
    skewness: float


def moments(x: Float[np.ndarray, " seed"]) -> Moments:
    """Of finite samples; a constant sample gives exactly its value and no spread."""
    low, high, n = float(np.min(x)), float(np.max(x)), len(x)
    if low == high or n < 2:
        return Moments(low, 0.0, 0.0)
    scaled, exponent = _scaled(x)
    mean = min(max(math.fsum(scaled) / n, float(scaled.min())), float(scaled.max()))
    deviations, further = _scaled(scaled - mean)
    square = math.fsum(deviations**2)
    sd = math.ldexp(math.sqrt(square / (n - 1)), exponent + further)
    g1 = (math.fsum(deviations**3) / n) / (square / n) ** 1.5
    skewness = g1 * math.sqrt(n * (n - 1)) / (n - 2) if n > 2 else 0.0
    return Moments(math.ldexp(mean, exponent), sd, skewness)


def _scaled(x: np.ndarray) -> tuple[np.ndarray, int]:
    exponent = math.frexp(float(np.max(np.abs(x))))[1]
    return np.ldexp(x, -exponent), exponent


def only_rounding(x: Float[np.ndarray, " seed"], sd: float) -> bool:
    """Whether samples that are not all equal differ by no more than rounding."""
    return sd < ROUNDING * float(np.max(np.abs(x)))


def beyond(value: float, bound: float, error: float) -> bool:
    """Whether `value` exceeds `bound` by more than its computed error (8 eps of the larger one where none is stated)."""
    return value - bound > (error or ROUNDING * max(abs(value), abs(bound)))
