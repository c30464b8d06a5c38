"""Refusals before computing: which value of which argument is out of its range."""

from __future__ import annotations

import math

from torch import Tensor

from workbench.parameters import concrete


def require_positive(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless every entry of `value` is a finite number > 0 (values that differ from run to run pass)."""
    _require(name, value, "a finite number > 0", lambda number: number > 0)


def require_nonnegative(name: str, value: float | Tensor) -> None:
    """Raise ValueError unless every entry of `value` is a finite number >= 0 (values that differ from run to run pass)."""
    _require(name, value, "a finite number >= 0", lambda number: number >= 0)


def require_count(name: str, value: object, low: int = 1, high: int | None = None) -> None:
    """Raise ValueError unless `value` is an int in low..high."""
    inside = isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high)
    if not inside:
        allowed = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be an int {allowed}, got {value!r}")


def _require(name: str, value: object, allowed: str, holds) -> None:
    if isinstance(value, Tensor):
        smallest, largest = concrete(value.min()), concrete(value.max())
        if smallest is None or largest is None:
            return
        numbers: tuple[object, ...] = (smallest, largest)
    else:
        numbers = (value,)
    for number in numbers:
        if (
            isinstance(number, bool)
            or not isinstance(number, (int, float))
            or not math.isfinite(number)
            or not holds(number)
        ):
            raise ValueError(f"{name} must be {allowed}, got {number!r}")
