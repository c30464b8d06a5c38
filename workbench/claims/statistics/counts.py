"""Exact tests that hold for every law: the median by its sign test, a share by the binomial."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import special

from .evidence import LEVEL, Evidence, clipped, refuse

Seeds = Float[np.ndarray, " seed"]


def median(lows: Seeds, highs: Seeds | None = None) -> Evidence:
    """Order statistics; exact for every law, ties and infinities included.

    Args:
        lows, highs: a sample that is known only to lie in an interval (censored) has different ends; a NaN may be
            anything. `above` counts the lower ends, `below` the upper ones. Default: `highs = lows`.
    """
    highs = lows if highs is None else highs
    unknown = np.isnan(lows) | np.isnan(highs)
    low, high = np.where(unknown, -np.inf, lows), np.where(unknown, np.inf, highs)
    n = len(low)
    known = lows[~unknown]
    with np.errstate(invalid="ignore"):
        estimate = float(np.median(known)) if len(known) else math.nan
    if n == 0 or len(known) == 0:
        return refuse(estimate, "no sample is a number")

    def above(bound: float, closed: bool) -> float:
        return _at_least(int(np.sum(low >= bound if closed else low > bound)), n, 0.5)

    def below(bound: float, closed: bool) -> float:
        return _at_least(int(np.sum(high <= bound if closed else high < bound)), n, 0.5)

    # The k smallest and k largest samples are cut off: the largest k with P(Bin(n, 1/2) < k) <= 2.5 %.
    cut = int(np.sum(special.bdtr(np.arange(n // 2 + 1), n, 0.5) <= LEVEL))
    if cut == 0:
        return refuse(estimate, f"{n} seeds; a median needs at least 6")
    # The cut-off tail of the sorted samples is one end of the interval.
    first, last = float(np.sort(low)[cut - 1]), float(np.sort(high)[n - cut])
    finite = known[np.isfinite(known)]
    spread = float(np.subtract(*np.percentile(finite, [75, 25])) / 1.349) if len(finite) > 3 else math.nan
    return Evidence(estimate, first, last, above, below, spread=spread)


def share(x: Seeds) -> Evidence:
    """k of n seeds, by Clopper and Pearson. A NaN counts against either side."""
    n, unknown = len(x), int(np.sum(np.isnan(x)))
    if n == 0:
        return refuse(math.nan, "no sample")
    sure = int(np.sum(x == 1))
    most = sure + unknown

    def above(bound: float, closed: bool) -> float:
        return _at_least(sure, n, bound)

    def below(bound: float, closed: bool) -> float:
        return clipped(special.bdtr(most, n, min(max(bound, 0.0), 1.0)))

    low = 0.0 if sure == 0 else float(special.betaincinv(sure, n - sure + 1, LEVEL))
    high = 1.0 if most == n else float(special.betaincinv(most + 1, n - most, 1 - LEVEL))
    estimate = sure / n
    return Evidence(estimate, low, high, above, below, math.sqrt(estimate * (1 - estimate)), successes=sure)


def _at_least(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) >= k)."""
    return 1.0 if k <= 0 else clipped(special.bdtrc(k - 1, n, min(max(p, 0.0), 1.0)))
