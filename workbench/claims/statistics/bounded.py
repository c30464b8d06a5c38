"""Mean of samples with stated bounds: Gaffke's bound, which neither ties nor rare events can fool.

Source: N. Gaffke, Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable
(2005), whose validity is a conjecture, measured here; arXiv:2106.03163 has a proved relative.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from .evidence import Evidence, clipped, ends, refuse


def bounded(x: Float[np.ndarray, " seed"], low: float | None, high: float | None) -> Evidence:
    """above(b) = P(sum_i E_i (x_i - b) + E_0 (low - b) <= 0) with independent standard exponentials E; below mirrored.

    Only the bound on that side is used: "mean >= b" of a loss needs `low` = 0 alone. A NaN counts as the bound.
    """
    if len(x) == 0:
        return refuse(math.nan, "no sample")
    known = x[~np.isnan(x)]
    for bound, outside in (
        (low, known < low if low is not None else None),
        (high, known > high if high is not None else None),
    ):
        if outside is not None and np.any(outside):
            return refuse(
                float(np.mean(known)), f"{int(np.sum(outside))} samples lie beyond the stated bound {bound:g}"
            )
    estimate = float(np.clip(math.fsum(known) / len(known), known.min(), known.max())) if len(known) else math.nan

    def above(b: float, closed: bool) -> float:
        return 1.0 if low is None else weighted_sum_below_zero(np.append(np.where(np.isnan(x), low, x), low) - b)

    def below(b: float, closed: bool) -> float:
        return 1.0 if high is None else weighted_sum_below_zero(b - np.append(np.where(np.isnan(x), high, x), high))

    start = estimate if math.isfinite(estimate) else 0.0
    first, last = ends(above, below, start, start if low is None else low, start if high is None else high)
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    return Evidence(
        estimate, -math.inf if low is None else first, math.inf if high is None else last, above, below, spread
    )


def weighted_sum_below_zero(weights: Float[np.ndarray, " term"]) -> float:
    """P(sum_i E_i w_i <= 0) for independent standard exponentials, by one quadrature of the characteristic function.

    P = 1/2 - (1/pi) int_0^inf sin(sum_i atan(w_i t)) / prod_i sqrt(1 + w_i^2 t^2) dt/t; in log t the integrand is analytic
    and the trapezoidal rule exact to rounding.
    """
    if np.all(weights <= 0):
        return 1.0
    if np.all(weights >= 0):
        return 0.0
    w, times = np.unique(weights / np.max(np.abs(weights)), return_counts=True)
    step = 0.1 / max(1.0, len(weights) / 50)
    t = np.exp(np.arange(-40.0, 40.0, step))
    wt = w[:, None] * t
    angle, decay = times @ np.arctan(wt), times @ np.log1p(wt * wt) / 2
    return clipped(0.5 - float(np.sum(np.sin(angle) * np.exp(-decay))) * step / math.pi)
