"""Mean, and what is a mean of something: the geometric mean of ratios, the mean slope over a size.

Source: P. Hall, On the removal of skewness by transformation, J. R. Statist. Soc. B 54 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from .evidence import LEVEL, Evidence, clipped, refuse
from .moments import moments, only_rounding

LEAST = 5
HULL = (0, 1, 2)
"""Multiples of the skewness that are corrected for; the largest p-value counts. 0 is Student's t."""


def mean(
    x: Float[np.ndarray, " seed"],
    *,
    symmetric: bool = False,
    error: float = 0.0,
    censored: str | None = None,
    pseudo: bool = False,
) -> Evidence:
    """t with Hall's skewness correction, T_k = T + h (T^2/3 + 1/6) + h^2 T^3/27 with h = k G1/sqrt(n), k = 0, 1, 2.

    Args:
        symmetric: k = 0 alone, for laws that are symmetric by construction.
        error: computed error of each sample; without one a spread below 8 eps is taken for rounding and refused.
        censored: "above" or "below" when samples are known only to lie beyond their value on that side: the test that
            this could flatter is refused.
        pseudo: jackknife pseudo-values of ranks, which are often equal by construction: no tie rule.
    """
    n = len(x)
    if bad := int(np.sum(~np.isfinite(x))):
        known = x[np.isfinite(x)]
        return refuse(moments(known).mean if len(known) else math.nan, f"{bad} of {n} samples are not finite")
    if n < LEAST:
        return refuse(moments(x).mean if n else math.nan, f"{n} seeds; a mean needs at least {LEAST}")
    m, s, g = moments(x)
    if s == 0:
        return Evidence(m, m, m, spread=0.0, constant=True)
    if only_rounding(x, s) and error == 0:
        return refuse(m, "no variation beyond rounding")
    if not pseudo and tied(x):
        return refuse(m, "too many equal samples for a mean: take a share or a median")
    hs = [k * g / math.sqrt(n) for k in ((0,) if symmetric else HULL)]

    def corrected(bound: float) -> list[float]:
        t = min(max(math.sqrt(n) * (m - bound) / s, -1e90), 1e90)
        return [t + h * (t * t / 3 + 1 / 6) + h * h * t**3 / 27 for h in hs]

    def above(bound: float, closed: bool) -> float:
        return 1.0 if censored == "below" else clipped(max(special.stdtr(n - 1, -t) for t in corrected(bound)))

    def below(bound: float, closed: bool) -> float:
        return 1.0 if censored == "above" else clipped(max(special.stdtr(n - 1, t) for t in corrected(bound)))

    z = float(special.stdtrit(n - 1, 1 - LEVEL))
    ends = [m - _inverse(h, sign * z) * s / math.sqrt(n) for h in hs for sign in (1, -1)]
    low = -math.inf if censored == "below" else min(ends)
    return Evidence(m, low, math.inf if censored == "above" else max(ends), above, below, spread=s)


def _inverse(h: float, z: float) -> float:
    """The T whose corrected value is z."""
    return z if abs(h) < 1e-12 else 3 / h * (float(np.cbrt(1 + h * (z - h / 6))) - 1)


def tied(x: Float[np.ndarray, " seed"]) -> bool:
    """The tie rule: fewer than min(n/2, 10) samples differ from the most frequent value."""
    return len(x) - int(np.unique(x, return_counts=True)[1].max()) < min(len(x) / 2, 10)


def ratio(x: Float[np.ndarray, " seed"], *, symmetric: bool = False, error: float = 0.0) -> Evidence:
    """Geometric mean of positive samples: the mean of the logarithms."""
    n = len(x)
    if bad := int(np.sum(~(np.isfinite(x) & (x > 0)))):
        known = x[np.isfinite(x) & (x > 0)]
        estimate = math.exp(math.fsum(np.log(known)) / len(known)) if len(known) else math.nan
        return refuse(estimate, f"{bad} of {n} samples are not positive and finite: take the median of the ratios")
    if n >= LEAST and float(np.min(x)) == float(np.max(x)):
        return Evidence(float(x[0]), float(x[0]), float(x[0]), spread=0.0, constant=True)
    logs = mean(np.log(x), symmetric=symmetric, error=error)
    estimate = min(max(math.exp(logs.estimate), float(np.min(x))), float(np.max(x))) if n else math.nan
    if logs.refused:
        return refuse(estimate, logs.refused)

    def at(bound: float) -> float:
        return math.log(bound) if bound > 0 else -math.inf

    return Evidence(
        estimate,
        _exp(logs.low),
        _exp(logs.high),
        lambda bound, closed: logs.above(at(bound), closed),
        lambda bound, closed: logs.below(at(bound), closed),
        spread=logs.spread * estimate,
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf


def slope(
    sizes: Sequence[float], y: Float[np.ndarray, "size seed"], *, symmetric: bool = False, error: float = 0.0
) -> Evidence:
    """Mean over seeds of each seed's least-squares slope of log y against log size; every seed runs every size."""
    x = np.log(np.asarray(sizes, float))
    if not np.all(np.isfinite(y) & (y > 0)):
        return refuse(math.nan, f"{int(np.sum(~(np.isfinite(y) & (y > 0))))} of {y.size} samples are not positive")
    centred = x - x.mean()
    return mean(centred @ np.log(y) / float(centred @ centred), symmetric=symmetric, error=error)
