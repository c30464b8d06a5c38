"""Where a claim says its quantity lies, in numbers, in words and on the axis that all units share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from ..shown.numbers import plain
from ..statistics.moments import beyond

LINEAR = 1e-2
"""Shares below this are drawn on a linear, above it on a logarithmic scale."""

TICKS = (
    (-10.0, "−10×"),
    (-1.0, "−100 %"),
    (-0.1, "−10 %"),
    (0.0, "threshold"),
    (0.1, "+10 %"),
    (1.0, "+100 %"),
    (10.0, "+10×"),
)
"""(share, words) of the marks along the axis."""


class Position(NamedTuple):
    """Ends and middle of an interval as signed shares of the threshold, positive = claimed side; low <= middle <= high."""

    low: float
    middle: float
    high: float


def shifted(end: float, by: float) -> float:
    """`end + by` as decimals: 0.7 + 0.1 is 0.8."""
    return float(Decimal(repr(end)) + Decimal(repr(by)))


@dataclass(frozen=True)
class Region:
    """An interval of the line with closed or strict ends.

    `error` is the computed error of the quantity: a strict end is passed only by more than it.
    """

    low: float = -math.inf
    high: float = math.inf
    low_closed: bool = True
    high_closed: bool = True
    error: float = 0.0
    centre: float | None = None

    @property
    def ends(self) -> list[float]:
        """The finite ends."""
        return [end for end in (self.low, self.high) if math.isfinite(end)]

    def excess(self, value: float) -> float:
        """How far a value lies beyond the region: negative inside, zero at an end."""
        return max(
            self.low - value if math.isfinite(self.low) else -math.inf,
            value - self.high if math.isfinite(self.high) else -math.inf,
        )

    def contains(self, value: float) -> bool:
        """Whether a number lies inside: at a closed end it may equal it, a strict one it must pass by more than rounding."""
        above = value >= self.low if self.low_closed else beyond(value, self.low, self.error)
        below = value <= self.high if self.high_closed else beyond(self.high, value, self.error)
        return above and below

    def words(self, unit: str = "") -> str:
        """`≤ 0.8 pp`, `in [0.8, 1.25]`, `= 2 ± 0.15`.

        >>> Region(high=0.8).words("pp"), Region(0.8, 1.25, high_closed=False).words()
        ('≤ 0.8 pp', 'in [0.8, 1.25)')
        """
        unit = f" {unit}" if unit not in ("", "1") else ""
        if self.centre is not None:
            slack = float(Decimal(repr(self.high)) - Decimal(repr(self.centre)))
            return f"= {plain(self.centre)}" + (f" ± {plain(slack)}" if slack else "") + unit
        if math.isinf(self.low):
            return f"{'≤' if self.high_closed else '<'} {plain(self.high)}{unit}"
        if math.isinf(self.high):
            return f"{'≥' if self.low_closed else '>'} {plain(self.low)}{unit}"
        brackets = "[" if self.low_closed else "(", "]" if self.high_closed else ")"
        return f"in {brackets[0]}{plain(self.low)}, {plain(self.high)}{brackets[1]}{unit}"

    def position(self, low: float, middle: float, high: float) -> Position | None:
        """Signed distances to the edge as a share of the threshold (of the half-width for two ends); None without a number.

        A threshold of 0 has no share: the distance is then measured in units of the interval's own far end.

        >>> Region(high=0.8).position(0.64, 0.72, 0.88).middle
        0.1
        """
        if math.isnan(middle):
            return None
        low, high = (middle if math.isnan(end) else end for end in (low, high))
        low, high = min(low, middle, high), max(low, middle, high)
        left, right = self.low, self.high
        if math.isinf(left) or math.isinf(right):
            edge, sign = (right, -1.0) if math.isinf(left) else (left, 1.0)
            scale = (
                abs(edge) or max((abs(end) for end in (low, middle, high) if math.isfinite(end)), default=1.0) or 1.0
            )
            shares = sorted(_tidy(sign * (end - edge) / scale) for end in (low, high))
            return Position(shares[0], _tidy(sign * (middle - edge) / scale), shares[1])
        centre, half = (left + right) / 2, (right - left) / 2
        scale = half or abs(centre) or 1.0

        def depth(value: float) -> float:
            distance = abs(value - centre)
            return 1.0 if distance == half == 0 else _tidy((half - distance) / scale)

        ends = sorted((depth(low), depth(high)))
        top = depth(centre) if low <= centre <= high and half > 0 else max(ends[1], depth(middle))
        return Position(min(ends[0], depth(middle)), depth(middle), max(top, ends[1]))


def _tidy(share: float) -> float:
    # 0.08 / 0.8 is 0.0999...: twelve digits are more than a picture shows.
    return share if not math.isfinite(share) else float(f"{share:.12g}")


def compressed(share: float, largest: float = 10.0) -> float:
    """Share mapped to [-1, 1] for drawing: sign-preserving, logarithmic beyond `LINEAR`, cut at +-`largest`.

    >>> compressed(0.0), compressed(1e9), compressed(float("-inf"))
    (0.0, 1.0, -1.0)
    """
    cut = min(abs(share), largest)
    return math.copysign(math.log1p(cut / LINEAR) / math.log1p(largest / LINEAR), share) if share else 0.0
