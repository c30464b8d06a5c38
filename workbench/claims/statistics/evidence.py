"""What samples say about one number: two one-sided tests and the interval that inverts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import optimize

LEVEL = 0.025
"""Of each one-sided test of a claim alone, and of each end of the interval shown."""

Test = Callable[[float, bool], float]
"""(bound, closed) -> p-value: small supports "above the bound" (or, of `below`, "below it"); a closed bound counts as
inside, which matters for samples that equal it."""


@dataclass(frozen=True)
class Evidence:
    """Estimate, interval at 2.5 % a side, and the tests `above` and `below` of a statistic.

    `spread` is the standard deviation over seeds, in the units of the estimate (nan where there is none). `constant`:
    every seed gave the same number. `refused` says why the samples decide nothing, and then both tests are 1.
    """

    estimate: float
    low: float = -math.inf
    high: float = math.inf
    above: Test = lambda bound, closed: 1.0
    below: Test = lambda bound, closed: 1.0
    spread: float = math.nan
    constant: bool = False
    successes: int | None = None
    refused: str = ""


def clipped(p: float) -> float:
    """A p-value in [0, 1]; NaN is 1."""
    return 1.0 if math.isnan(p) else min(max(float(p), 0.0), 1.0)


def refuse(estimate: float, reason: str) -> Evidence:
    """Samples that decide nothing, and why."""
    return Evidence(estimate, refused=reason)


def ends(above: Test, below: Test, start: float, low: float, high: float) -> tuple[float, float]:
    """The interval of bounds that neither test excludes at 2.5 %, searched outwards from `start` within [low, high]."""

    def end(test: Test, limit: float) -> float:
        if test(limit, True) > LEVEL:
            return limit
        if test(start, True) <= LEVEL:
            return start
        first, last = sorted((start, limit))
        return float(optimize.brentq(lambda bound: test(bound, True) - LEVEL, first, last, rtol=1e-10))  # type: ignore[arg-type]

    return end(above, low), end(below, high)
