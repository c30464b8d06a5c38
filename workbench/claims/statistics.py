"""Intervals and tests over seeds: what a handful of runs can say about a claim.

Every interval is two-sided. Every p-value is twice the smaller one-sided one, so that a claim alone in its family
passes Holm at level `1 - confidence` exactly when its interval decides it.

Samples are one-dimensional arrays, one entry per seed; for a comparison of two methods they are the paired differences
(or ratios) of runs with the same seed. `scipy.special` rather than `scipy.stats`, whose import takes longer than a
whole scoreboard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

RESAMPLES = 9999


class Interval(NamedTuple):
    """An estimate with the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def mean_interval(
    samples: Float[np.ndarray, " seed"], confidence: float = 0.95, standard_errors: float | None = None
) -> Interval:
    """Student-t interval of the mean; with `standard_errors = k`, mean +- k standard errors instead.

    One sample has no spread: its interval is the whole line.
    """
    estimate, n = float(np.mean(samples)), len(samples)
    if n < 2:
        return Interval(estimate, -math.inf, math.inf)
    factor = special.stdtrit(n - 1, (1 + confidence) / 2) if standard_errors is None else standard_errors
    half = float(factor * np.std(samples, ddof=1) / math.sqrt(n))
    return Interval(estimate, estimate - half, estimate + half)


def ratio_interval(samples: Float[np.ndarray, " seed"], confidence: float = 0.95) -> Interval:
    """Student-t interval on the log scale: the geometric mean of positive samples with its interval."""
    with np.errstate(over="ignore"):
        return Interval(*(float(np.exp(end)) for end in mean_interval(np.log(samples), confidence)))


def median_interval(samples: Float[np.ndarray, " seed"], confidence: float = 0.95) -> Interval:
    """Exact (sign-test) interval of the median: a pair of order statistics, right for every distribution.

    Infinite samples are ordinary. A NaN may stand for any value: it counts as -inf for the lower end and as +inf for
    the upper one. Below six seeds no order statistic reaches 95 % and the interval is the whole line.
    """
    n = len(samples)
    low = np.sort(np.where(np.isnan(samples), -np.inf, samples))
    high = np.sort(np.where(np.isnan(samples), np.inf, samples))
    with np.errstate(invalid="ignore"):
        known = samples[~np.isnan(samples)]
        estimate = float(np.median(known)) if len(known) else math.nan
    # The k smallest and k largest samples are cut off: the largest k with P(Bin(n, 1/2) < k) <= (1 - confidence) / 2.
    tail = special.bdtr(np.arange(n // 2 + 1), n, 0.5)
    cut = int(np.sum(tail <= (1 - confidence) / 2))
    if cut == 0:
        return Interval(estimate, -math.inf, math.inf)
    return Interval(estimate, float(low[cut - 1]), float(high[n - cut]))


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Clopper-Pearson (exact binomial) interval of a proportion from `successes` of `n` seeds."""
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(successes / n, low, high)


def bootstrap_means(samples: Float[np.ndarray, " seed"]) -> Float[np.ndarray, " resample"]:
    """Means of resampled data sets, the same ones at every call."""
    picks = np.random.default_rng(0).integers(0, len(samples), size=(RESAMPLES, len(samples)))
    return samples[picks].mean(axis=1)


def bootstrap_interval(samples: Float[np.ndarray, " seed"], confidence: float = 0.95) -> Interval:
    """Percentile bootstrap interval of the mean. Too narrow below 20 seeds: callers must not decide with fewer."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(bootstrap_means(samples), [tail, 1 - tail])
    return Interval(float(np.mean(samples)), float(low), float(high))


def mean_above(samples: Float[np.ndarray, " seed"], bound: float) -> float:
    """One-sided p-value of `mean <= bound` (Student t)."""
    n, difference = len(samples), float(np.mean(samples)) - bound
    if n < 2:
        return 1.0
    error = float(np.std(samples, ddof=1)) / math.sqrt(n)
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return float(special.stdtr(n - 1, -difference / error))


def median_above(samples: Float[np.ndarray, " seed"], bound: float) -> float:
    """One-sided p-value of `median <= bound` (sign test; ties and NaN count against)."""
    return float(special.bdtrc(int(np.sum(samples > bound)) - 1, len(samples), 0.5))


def proportion_above(successes: int, n: int, bound: float) -> float:
    """One-sided p-value of `proportion <= bound` (exact binomial)."""
    return float(special.bdtrc(successes - 1, n, bound))


def bootstrap_above(samples: Float[np.ndarray, " seed"], bound: float) -> float:
    """One-sided p-value of `mean <= bound`: the share of resampled means that do not exceed the bound."""
    return (1 + int(np.sum(bootstrap_means(samples) <= bound))) / (1 + RESAMPLES)


def two_sided(*one_sided: float) -> float:
    """The p-value of a region from the one-sided ones of its ends: all must hold, so the largest counts, doubled."""
    return min(1.0, 2 * max(one_sided))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those <= level to keep the family's error rate at the level.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
