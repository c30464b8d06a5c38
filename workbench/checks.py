"""Refusals before computing: which value of which argument is out of its range."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
from torch import Tensor

from workbench.parameters import concrete


def require_positive(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless every entry of `value` is a finite number > 0 (values that differ from run to run pass)."""
    _require(name, value, "a finite number > 0", lambda number: number > 0)


def require_nonnegative(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless every entry of `value` is a finite number >= 0 (values that differ from run to run pass)."""
    _require(name, value, "a finite number >= 0", lambda number: number >= 0)


def require_finite(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless every entry of `value` is a finite number (values that differ from run to run pass)."""
    _require(name, value, "a finite number", lambda number: True)


def require_count(name: str, value: object, low: int = 1, high: int | None = None) -> None:
    """Raise ValueError unless `value` is an int in low..high."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    inside = whole and low <= int(value) and (high is None or int(value) <= high)
    if not inside:
        allowed = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be an int {allowed}, got {value!r}")


def require_within(name: str, values: Tensor, low: float = 0.0, high: float = 1.0) -> None:
    """Raise ValueError unless `values` are floating-point numbers in [low, high] (NaN is outside), and name the usual cause.

    Inside `torch.func.vmap`, where each run has its own numbers, only their type is looked at.
    """
    if not values.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point numbers in [{low:g}, {high:g}], got {values.dtype}: convert them"
        )
    if not values.numel():
        return
    least, most = concrete(values.min()), concrete(values.max())
    if least is None or most is None or (low <= least and most <= high):
        return
    advice = ": divide bytes by 255" if (low, high) == (0.0, 1.0) and least >= 0 and 2 < most <= 255 else ""
    raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got values from {least:.4g} to {most:.4g}{advice}")


def refuse_outside(
    name: str,
    value: object,
    *,
    lower: float = -math.inf,
    upper: float = math.inf,
    open_lower: bool = False,
    open_upper: bool = False,
) -> None:
    """Raise ValueError when a plain number lies outside its range (tensors and schedules are taken as they are)."""
    if isinstance(value, Tensor) or callable(value):
        return
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number, a 0-dim tensor or a schedule, got {value!r}")
    above = value > lower if open_lower else value >= lower
    below = value < upper if open_upper else value <= upper
    if not (math.isfinite(value) and above and below):
        left = f"{'(' if open_lower or lower == -math.inf else '['}{lower:g}"
        right = f"{upper:g}{')' if open_upper or upper == math.inf else ']'}"
        raise ValueError(f"{name} must be a finite number in {left}, {right}, got {value!r}")


def _require(name: str, value: object, allowed: str, holds) -> None:
    if isinstance(value, Tensor):
        smallest, largest = concrete(value.min()), concrete(value.max())
        if smallest is None or largest is None:
            return
        numbers: tuple[object, ...] = (smallest, largest)
    else:
        numbers = (value,)
    for number in numbers:
        real = isinstance(number, (int, float, np.number)) and not isinstance(number, bool)
        if not (real and math.isfinite(number) and holds(number)):
            raise ValueError(f"{name} must be {allowed}, got {number!r}")
