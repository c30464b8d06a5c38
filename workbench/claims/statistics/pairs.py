"""Two or three samples of the same seeds: ratio of means, nearer to one than to the other, rank correlation."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import special

from .evidence import Evidence, Test, ends, refuse
from .mean import mean, tied
from .moments import moments

Seeds = Float[np.ndarray, " seed"]


def pooled(x: Seeds, y: Seeds, *, signed: bool = False, error: float = 0.0) -> Evidence:
    """Ratio of means, mean x / mean y: the larger p of Fieller's test of x - b y and of the jackknifed log ratio.

    Signed data: Fieller's test alone, with mean y > 0 as a test of its own.
    """
    n = len(x)
    if n != len(y):
        return refuse(math.nan, f"{n} and {len(y)} samples: both means need the same seeds")
    if bad := int(np.sum(~(np.isfinite(x) & np.isfinite(y)))):
        return refuse(math.nan, f"{bad} of {n} samples are not finite")
    if not signed and not (np.all(x > 0) and np.all(y > 0)):
        return refuse(math.nan, "not every sample is positive: state signed = true in the card")
    mx, my = moments(x), moments(y)
    estimate = mx.mean / my.mean if my.mean else math.nan
    if n < 5:
        return refuse(estimate, f"{n} seeds; a ratio of means needs at least 5")
    if mx.sd == my.sd == 0:
        return Evidence(estimate, estimate, estimate, spread=0.0, constant=True)
    if any(one.sd > 0 and tied(sample) for one, sample in ((mx, x), (my, y))):
        return refuse(estimate, "too many equal samples for a ratio of means: take a share or a median")
    if signed:
        positive = mean(y, error=error).above(0.0, False) if my.sd else float(my.mean <= 0)
        tests = [lambda bound, sign: max(positive, _side(mean(x - bound * y, error=error), 0.0, sign))]
    else:
        logs = mean(_pseudo_log_ratio(x, y), error=error)
        tests = [
            lambda bound, sign: _side(mean(x - bound * y, error=error), 0.0, sign),
            lambda bound, sign: _side(logs, math.log(bound), sign) if bound > 0 else float(sign < 0),
        ]

    def above(bound: float, closed: bool) -> float:
        return max(test(bound, 1) for test in tests)

    def below(bound: float, closed: bool) -> float:
        return max(test(bound, -1) for test in tests)

    spread = moments(x - estimate * y).sd / abs(my.mean)
    reach = 1e3 * max(abs(estimate), spread)
    low, high = ends(above, below, estimate, -reach if signed else estimate * 1e-9, max(reach, estimate * 1e9))
    return Evidence(estimate, low, high, above, below, spread=spread)


def _side(evidence: Evidence, bound: float, sign: int) -> float:
    """One one-sided p-value; a constant sample is on one side for sure."""
    if evidence.constant:
        return float(not sign * (evidence.estimate - bound) > 0)
    return (evidence.above if sign > 0 else evidence.below)(bound, False)


def _pseudo_log_ratio(x: Seeds, y: Seeds) -> Seeds:
    """Jackknife pseudo-values of log(mean x / mean y), moved so that their mean is the full estimate."""
    n, full = len(x), math.log(math.fsum(x) / math.fsum(y))
    left_out = np.log((math.fsum(x) - x) / (math.fsum(y) - y))
    pseudo = n * full - (n - 1) * left_out
    return pseudo + (full - float(np.mean(pseudo)))


def position(x: Seeds, a: Seeds, b: Seeds, *, at: float = 0.5, error: float = 0.0) -> Evidence:
    """(x - a)/(b - a) against `at` without a division: the contrast x - (1 - at) a - at b, where b lies above a.

    The estimate and the interval are the contrast's: above 0 is "nearer to b" (at = 1/2).
    """
    if not len(x) == len(a) == len(b):
        return refuse(math.nan, f"{len(x)}, {len(a)} and {len(b)} samples: all three need the same seeds")
    contrast, gap = mean(x - (1 - at) * a - at * b, error=error), mean(b - a, error=error)
    apart = _side(gap, 0.0, 1)
    if contrast.refused or gap.refused:
        return refuse(contrast.estimate, contrast.refused or f"b - a: {gap.refused}")
    if contrast.constant:
        return contrast if apart <= 0.025 else refuse(contrast.estimate, "b is not above a")
    # The condition b > a enters as a second test that must pass, for either verdict.
    above: Test = lambda bound, closed: max(contrast.above(bound, closed), apart)  # noqa: E731
    below: Test = lambda bound, closed: max(contrast.below(bound, closed), apart)  # noqa: E731
    return Evidence(contrast.estimate, contrast.low, contrast.high, above, below, spread=contrast.spread)


def correlation(x: Seeds, y: Seeds) -> Evidence:
    """Kendall's tau of one pair per seed: atanh, jackknife over the pairs, then the mean's procedure."""
    n = len(x)
    if n != len(y):
        return refuse(math.nan, f"{n} and {len(y)} samples: a correlation needs pairs")
    if not np.all(np.isfinite(x) & np.isfinite(y)):
        return refuse(math.nan, f"{int(np.sum(~(np.isfinite(x) & np.isfinite(y))))} of {n} samples are not finite")
    if n < 10:
        return refuse(math.nan, f"{n} seeds; a correlation needs at least 10")
    agree = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    untied_x, untied_y = (np.sign(v[:, None] - v) ** 2 for v in (x, y))
    total = [float(one.sum()) for one in (agree, untied_x, untied_y)]
    if min(total[1:]) == 0:
        return refuse(math.nan, "one of the two quantities does not vary")
    # On the two samples, not on the pseudo-values, which are equal by construction: of two events of one run in ten the
    # procedure contradicts a vanishing correlation half of the time at n = 50.
    if tied(x) or tied(y):
        return refuse(math.nan, "too many equal samples for a correlation of ranks: take a share or a median")
    full = total[0] / math.sqrt(total[1] * total[2])
    without = [whole - 2 * one.sum(1) for whole, one in zip(total, (agree, untied_x, untied_y), strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = without[0] / np.sqrt(without[1] * without[2])
    if abs(full) >= 1 or not np.all(np.abs(left_out) < 1):
        return refuse(full, "the ranks agree perfectly: no interval of the correlation")
    pseudo = n * math.atanh(full) - (n - 1) * np.arctanh(left_out)
    z = mean(pseudo + (math.atanh(full) - float(np.mean(pseudo))), pseudo=True)
    if z.refused or z.constant:
        return refuse(full, z.refused or "no variation in the ranks")

    def at(bound: float) -> float:
        return (
            float(special.xlogy(0.5, (1 + bound) / (1 - bound))) if abs(bound) < 1 else math.copysign(math.inf, bound)
        )

    spread = z.spread * (1 - full * full)
    return Evidence(
        full,
        math.tanh(z.low),
        math.tanh(z.high),
        lambda bound, closed: z.above(at(bound), closed),
        lambda bound, closed: z.below(at(bound), closed),
        spread=spread,
    )
