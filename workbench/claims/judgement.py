"""From samples to a verdict on one condition of a claim.

A condition claims that a quantity lies in a region. It is *reproduced* when the quantity's interval lies inside the
region, *contradicted* when it lies outside, *inconclusive* otherwise. Samples over several comparisons (leading
dimensions) must hold in every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import statistics
from .regions import Region
from .schema import Condition
from .statistics import Interval

REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = "reproduced", "contradicted", "inconclusive", "not run"
LEAST_SEEDS = 5
LEAST_SEEDS_BOOTSTRAP = 20


@dataclass(frozen=True)
class Measurement:
    """What was measured for one condition, and what follows.

    Several comparisons are represented by the worst one (`estimate`, `low`, `high`); `n` counts the seeds of each, or
    the values of a deterministic statement; `not_finite` counts NaN and infinite samples of all.
    """

    condition: Condition
    verdict: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    comparisons: int = 1
    not_finite: int = 0
    successes: int | None = None
    p_value: float | None = None
    note: str = ""
    whole: bool = False


def as_array(samples: Any) -> np.ndarray:
    """Numbers, lists, arrays, tensors (any device, with or without gradient) or labelled arrays as a real array.

    A labelled array's `seed` (or `run`) dimension is put last.

    Raises:
        ValueError: for anything that is not an array of real numbers or booleans.
    """
    dims = getattr(samples, "dims", None)
    if dims is not None and hasattr(samples, "transpose"):
        last = next((name for name in ("seed", "run") if name in dims), None)
        samples = samples.transpose(..., last) if last else samples
    elif dims is not None and hasattr(samples, "value"):
        samples = samples.value
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
        samples = samples.numpy() if hasattr(samples, "numpy") else samples
    try:
        array = np.asarray(samples)
    except ValueError:
        raise ValueError("samples must be a rectangular array of numbers; the rows differ in length") from None
    if array.dtype == object and array.size:
        try:
            array = array.astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"samples must be numbers, got entries like {array.ravel()[0]!r}") from None
    if array.dtype.kind not in "biufO":
        raise ValueError(f"samples must be real numbers or booleans, got an array of {array.dtype}")
    return array if array.dtype.kind in "biu" else array.astype(float)


def judge(condition: Condition, samples: Any) -> Measurement:
    """The measurement and verdict of one condition.

    Args:
        samples: one value per seed, or `[comparison, seed]`; any shape for the statistic "value".

    Raises:
        ValueError: for samples that are not numbers, proportions of anything but 0/1, ratios below zero.
    """
    array = as_array(samples)
    whole = array.dtype.kind in "biu"
    values = array.astype(float)
    not_finite = int(np.sum(~np.isfinite(values)))
    if values.size == 0:
        return Measurement(condition, INCONCLUSIVE, note="no samples")
    if condition.statistic == "value":
        return _exact(condition, values.ravel(), not_finite, whole)
    if condition.statistic == "proportion" and not np.all(np.isin(values[~np.isnan(values)], (0.0, 1.0))):
        raise ValueError(f"{condition.quantity}: a proportion needs booleans (or 0 and 1), one per seed")
    if condition.statistic == "ratio" and np.any(values < 0):
        raise ValueError(f"{condition.quantity}: a ratio needs positive samples; use statistic 'mean' in the card")
    rows = np.atleast_2d(values).reshape(-1, values.shape[-1] if values.ndim else 1)
    judged = [_JUDGES[condition.statistic](condition, row) for row in rows]
    severity = {CONTRADICTED: 2, INCONCLUSIVE: 1, REPRODUCED: 0}
    region = Region.of(condition)

    def badness(one: Measurement) -> tuple[int, float]:
        return severity[one.verdict], math.inf if math.isnan(one.estimate) else region.excess(one.estimate)

    worst = max(judged, key=badness)
    p_values = [one.p_value for one in judged if one.p_value is not None]
    return replace(
        worst,
        comparisons=len(rows),
        not_finite=not_finite,
        p_value=max(p_values, default=None),
    )


def _exact(condition: Condition, values: np.ndarray, not_finite: int, whole: bool) -> Measurement:
    region, known = Region.of(condition), values[~np.isnan(values)]
    if len(known) == 0:
        return Measurement(condition, INCONCLUSIVE, n=len(values), not_finite=not_finite, note="every value is NaN")
    excess = np.array([region.excess(value) for value in known])
    worst = float(known[int(np.argmax(excess))])
    note, verdict = "", REPRODUCED if region.contains(worst, worst) else CONTRADICTED
    if len(known) < len(values):
        note = f"{len(values) - len(known)} of {len(values)} values are NaN"
        verdict = INCONCLUSIVE if verdict == REPRODUCED else verdict
    return Measurement(
        condition,
        verdict,
        estimate=worst,
        low=float(known.min()),
        high=float(known.max()),
        n=len(values),
        not_finite=not_finite,
        note=note,
        whole=whole,
    )


def _decide(condition: Condition, interval: Interval) -> str:
    region = Region.of(condition)
    if region.contains(interval.low, interval.high):
        return REPRODUCED
    return CONTRADICTED if region.misses(interval.low, interval.high) else INCONCLUSIVE


def _region_p(region: Region, above: Callable[[float], float], below: Callable[[float], float]) -> float:
    """The p-value of "outside the region" from the one-sided p-values at its ends."""
    parts = [above(region.low)] if math.isfinite(region.low) else []
    parts += [below(region.high)] if math.isfinite(region.high) else []
    return statistics.two_sided(*parts)


def _too_few(n: int, needed: int = LEAST_SEEDS) -> str:
    return f"{n} seed{'s' if n != 1 else ''}; at least {needed} are needed to decide" if n < needed else ""


def _mean_like(condition: Condition, row: np.ndarray) -> Measurement:
    """Mean, ratio and bootstrap: one sample that is not finite leaves no mean to speak of."""
    kind, n = condition.statistic, len(row)
    usable = np.isfinite(row) & (row > 0 if kind == "ratio" else True)
    finite = row[usable]
    if len(finite) == 0:
        return Measurement(condition, INCONCLUSIVE, n=n, note="no sample is finite", p_value=1.0)
    region, note = Region.of(condition), _too_few(n, LEAST_SEEDS_BOOTSTRAP if kind == "bootstrap" else LEAST_SEEDS)
    if kind == "mean":
        interval = statistics.mean_interval(finite, condition.confidence, condition.standard_errors)
    elif kind == "ratio":
        interval = statistics.ratio_interval(finite, condition.confidence)
    else:
        interval = statistics.bootstrap_interval(finite, condition.confidence)
    if len(finite) < n:
        reason = "not finite" if kind != "ratio" else "zero or not finite"
        note = f"{n - len(finite)} of {n} samples are {reason}; estimate from the others"
    if note:
        return Measurement(condition, INCONCLUSIVE, *interval, n=n, note=note, p_value=1.0)
    above = statistics.bootstrap_above if kind == "bootstrap" else statistics.mean_above
    scale = np.log if kind == "ratio" else np.asarray
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = _region_p(
            region,
            lambda bound: above(scale(finite), float(scale(bound))) if kind != "ratio" or bound > 0 else 0.0,
            lambda bound: above(-scale(finite), -float(scale(bound))),
        )
    return Measurement(condition, _decide(condition, interval), *interval, n=n, p_value=p_value)


def _median(condition: Condition, row: np.ndarray) -> Measurement:
    interval, region, n = statistics.median_interval(row, condition.confidence), Region.of(condition), len(row)
    note = _too_few(n)
    if not note and math.isinf(interval.low) and math.isinf(interval.high) and np.all(np.isfinite(row)):
        note = f"{n} seeds are too few for a {condition.confidence * 100:g} % interval of a median"
    p_value = _region_p(
        region,
        lambda bound: statistics.median_above(row, bound),
        lambda bound: statistics.median_above(-row, -bound),
    )
    verdict = INCONCLUSIVE if note else _decide(condition, interval)
    return Measurement(condition, verdict, *interval, n=n, p_value=1.0 if note else p_value, note=note)


def _proportion(condition: Condition, row: np.ndarray) -> Measurement:
    """k of n seeds. A NaN may be either: it counts against reproduction and against contradiction.

    "At least t" is reproduced when k/n reaches t *and* the exact interval lies above 1/2 (above t, if t is smaller),
    since no finite number of seeds puts an interval above 1; it is contradicted when the interval lies below t.
    Mirrored for "at most".
    """
    n, unknown, region = len(row), int(np.sum(np.isnan(row))), Region.of(condition)
    sure = int(np.sum(row == 1))
    fewest = statistics.proportion_interval(sure, n, condition.confidence)
    most = statistics.proportion_interval(sure + unknown, n, condition.confidence)
    low_end, high_end = min(region.low, 0.5), max(region.high, 0.5)
    if math.isfinite(region.low) and math.isfinite(region.high):
        low_end, high_end = region.low, region.high
    rounding = 1e-9
    wide = Region(region.low - rounding, region.high + rounding, False)
    shares_fit = all(
        (share > region.low and share < region.high) if region.strict else wide.contains(share, share)
        for share in (fewest.estimate, most.estimate)
    )
    reproduced = (
        shares_fit
        and (math.isinf(region.low) or fewest.low > low_end)
        and (math.isinf(region.high) or most.high < high_end)
    )
    note = _too_few(n)
    verdict = INCONCLUSIVE
    if not note and reproduced:
        verdict = REPRODUCED
    elif not note and region.misses(fewest.low, most.high):
        verdict = CONTRADICTED
    if unknown and not note:
        note = f"{unknown} of {n} seeds are NaN and count for neither side"
    p_value = _region_p(
        region,
        lambda _: statistics.proportion_above(sure, n, max(low_end, 0.0)),
        lambda _: statistics.proportion_above(n - sure - unknown, n, 1 - min(high_end, 1.0)),
    )
    # A significant proportion that misses the printed count is still no reproduction.
    p_value = p_value if shares_fit and n >= LEAST_SEEDS else 1.0
    return Measurement(
        condition,
        verdict,
        fewest.estimate,
        fewest.low,
        most.high,
        n=n,
        successes=sure,
        p_value=p_value,
        note=note,
    )


_JUDGES: dict[str, Callable[[Condition, np.ndarray], Measurement]] = {
    "mean": _mean_like,
    "ratio": _mean_like,
    "bootstrap": _mean_like,
    "median": _median,
    "proportion": _proportion,
}
