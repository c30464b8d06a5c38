"""Where a claim says its quantity lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .schema import Condition


@dataclass(frozen=True)
class Region:
    """An interval of the line; `strict` excludes its ends."""

    low: float
    high: float
    strict: bool

    @classmethod
    def of(cls, condition: Condition) -> Region:
        """The region a condition claims, widened by its tolerance (and by its margin around an equivalence)."""
        threshold, slack = condition.threshold, condition.tolerance
        if isinstance(threshold, list):
            return cls(threshold[0] - slack, threshold[1] + slack, False)
        if condition.relation == "==":
            slack += condition.margin or 0.0
            return cls(threshold - slack, threshold + slack, False)
        strict = condition.relation in ("<", ">") and slack == 0
        if condition.relation in ("<", "<="):
            return cls(-math.inf, threshold + slack, strict)
        return cls(threshold - slack, math.inf, strict)

    @property
    def ends(self) -> list[float]:
        return [end for end in (self.low, self.high) if math.isfinite(end)]

    def excess(self, value: float) -> float:
        """How far a value lies beyond the region: negative inside, zero at an end."""
        return max(
            self.low - value if math.isfinite(self.low) else -math.inf,
            value - self.high if math.isfinite(self.high) else -math.inf,
        )

    def contains(self, low: float, high: float) -> bool:
        """Whether all of [low, high] lies in the region."""
        excess = max(self.excess(low), self.excess(high))
        return excess < 0 if self.strict else excess <= 0

    def misses(self, low: float, high: float) -> bool:
        """Whether all of [low, high] lies outside the region."""
        if self.strict:
            return high <= self.low or low >= self.high
        return high < self.low or low > self.high
