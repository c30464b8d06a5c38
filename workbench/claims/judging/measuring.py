"""One condition's samples against its region."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..statistics import counts, mean, pairs, seeds
from ..statistics.bounded import bounded
from ..statistics.evidence import Evidence
from ..statistics.samples import as_array, parts, rows
from ..written.condition import SKEWED, Condition
from ..written.regions import Region
from .family import HOLDS, UNDECIDED, VIOLATED, Pair
from .record import INCONCLUSIVE, Measurement


def _evidence(condition: Condition, samples: Any) -> tuple[list[Evidence], int, int]:
    """Evidence of every comparison, the number of seeds and of samples that are not finite."""
    shape = {"symmetric": condition.shape == "symmetric", "error": condition.tolerance}
    name = condition.statistic
    one: Callable[..., Evidence]
    if name == "slope":
        if not isinstance(samples, tuple) or len(samples) != 2:
            raise ValueError("a slope needs a tuple (sizes, samples with dimensions size and seed)")
        sizes, y = as_array(samples[0]).astype(float), as_array(samples[1]).astype(float)
        if y.ndim not in (2, 3) or y.shape[-2] != len(sizes) or len(sizes) < 2 or not np.all(sizes > 0):
            raise ValueError(
                f"a slope needs sizes > 0 and samples [size, seed] or [comparison, size, seed], got {sizes.shape} and {y.shape}"
            )
        lines = y if y.ndim == 3 else y[None]
        return [mean.slope(sizes.tolist(), one, **shape) for one in lines], y.shape[-1], int(np.sum(~np.isfinite(y)))
    takes = {"pooled": ("x", "y"), "correlation": ("x", "y"), "position": ("x", "a", "b")}
    if name == "median" and isinstance(samples, tuple) and len(samples) == 2 and np.ndim(samples[0]) > 0:
        arrays, one = parts(samples, ("lows", "highs")), counts.median
    elif name in takes:
        arrays = parts(samples, takes[name])
        one = {
            "pooled": lambda x, y: pairs.pooled(x, y, signed=condition.signed, error=condition.tolerance),
            "correlation": pairs.correlation,
            "position": lambda x, a, b: pairs.position(x, a, b, at=condition.at, error=condition.tolerance),
        }[name]
    else:
        arrays = [rows(samples)]
        if name in ("share", "error_rate") and not np.all(np.isin(arrays[0][~np.isnan(arrays[0])], (0.0, 1.0))):
            raise ValueError(f"{condition.quantity}: a share needs booleans (or 0 and 1), one per seed")
        if name == "ratio" and np.any(arrays[0] < 0):
            raise ValueError(f"{condition.quantity}: a ratio needs positive samples; use statistic 'mean' in the card")
        one = {
            "mean": lambda x: mean.mean(x, **shape, censored=condition.censored),
            "agreement": lambda x: mean.mean(x, **shape),
            "ratio": lambda x: mean.ratio(x, **shape),
            "median": counts.median,
            "share": counts.share,
            "error_rate": counts.share,
            "bounded": lambda x: bounded(x, *condition.sides),
        }[name]
    bad = sum(int(np.sum(~np.isfinite(array))) for array in arrays)
    return [one(*row) for row in zip(*arrays, strict=True)], arrays[0].shape[-1], bad


def p_values(region: Region, evidence: Evidence) -> Pair:
    """The two p-values of a condition; with two ends the contradiction pays for its two chances."""
    if evidence.refused:
        return UNDECIDED
    if evidence.constant:
        return HOLDS if region.contains(evidence.estimate) else VIOLATED
    supports, against = [], []
    if math.isfinite(region.low):
        supports.append(evidence.above(region.low, region.low_closed))
        against.append(evidence.below(region.low, not region.low_closed))
    if math.isfinite(region.high):
        supports.append(evidence.below(region.high, region.high_closed))
        against.append(evidence.above(region.high, not region.high_closed))
    return Pair(max(supports), min(1.0, len(against) * min(against)))


def measure(condition: Condition, samples: Any) -> Measurement:
    """Judge one condition's samples.

    Args:
        condition: from the card.
        samples: for `value` any array, every entry of which must lie in the region; otherwise one entry per seed, or
            `[comparison, seed]` (all must hold). Tuples: `pooled` and `correlation` (x, y), `position` (x, a, b), `slope`
            (sizes, `[size, seed]`), a censored `median` (lows, highs).

    Raises:
        ValueError: for samples of the wrong kind.
    """
    if condition.statistic == "value":
        return _exact(condition, as_array(samples))
    region = condition.region
    found, n, bad = _evidence(condition, samples)
    if not found or n == 0:
        return Measurement(condition, note="no samples", not_finite=bad)
    judged = [p_values(region, one) for one in found]
    together = Pair(max(p.rep for p in judged), min(p.con for p in judged))

    def severity(k: int) -> tuple[float, ...]:
        """Contradicted comparisons first, then the least supported one."""
        beyond = region.excess(found[k].estimate)
        return (-min(judged[k].con, 0.0251), judged[k].rep, math.inf if math.isnan(beyond) else beyond)

    worst = found[max(range(len(found)), key=severity)]
    one = Measurement(
        condition,
        together,
        worst.estimate,
        worst.low,
        worst.high,
        n=n,
        comparisons=len(found),
        not_finite=bad,
        successes=worst.successes,
        spread=worst.spread,
    )
    return replace(one, note=_note(one, worst))


def _note(one: Measurement, worst: Evidence) -> str:
    notes = [worst.refused] if worst.refused else []
    if worst.constant:
        notes.append(f"no variation in {one.n} seeds; up to {1 - 0.025 ** (1 / one.n):.0%} of them may differ")
    if one.not_finite and not worst.refused:
        notes.append(f"{one.not_finite} of {one.n * one.comparisons} samples are not finite")
    elif (
        not worst.constant
        and not worst.refused
        and one.n < 10
        and one.condition.statistic in SKEWED
        and one.condition.shape is None
    ):
        notes.append("below 10 seeds right only for near-normal samples")
    if one.verdict == INCONCLUSIVE and (needed := would_decide(one)):
        notes.append(f"{'more than 1000' if needed > seeds.MOST else f'about {needed}'} seeds would decide")
    return "; ".join(notes)


def would_decide(one: Measurement, level: float = 0.025) -> int | None:
    """Seeds that would decide an undecided condition if its estimate stays; None where it lies outside the region."""
    condition, region = one.condition, one.condition.region
    if region.excess(one.estimate) >= 0 or math.isnan(one.estimate):
        return None
    if condition.statistic in ("share", "error_rate", "median") and len(region.ends) == 1:
        at_least = math.isfinite(region.low)
        if condition.statistic == "median":
            needed = seeds.least_for_median(level)
            return needed if one.n < needed else None
        return seeds.for_share(one.successes or 0, one.n, region.ends[0], at_least, level)
    needed = seeds.for_mean(one.inside / one.spread, level) if one.spread > 0 else None
    return needed if needed and needed > one.n else None


def _exact(condition: Condition, array: np.ndarray) -> Measurement:
    whole, region = array.dtype.kind in "biu", condition.region
    values = array.astype(float).ravel()
    known, bad = values[~np.isnan(values)], int(np.sum(~np.isfinite(values)))
    if len(known) == 0:
        note = "every value is NaN" if len(values) else "no samples"
        return Measurement(condition, n=len(values), not_finite=bad, note=note)
    inside = np.array([region.contains(value) for value in known])
    worst = float(known[int(np.argmax([region.excess(value) for value in known]))])
    p, note = (HOLDS if inside.all() else VIOLATED), ""
    if len(known) < len(values):
        note = f"{len(values) - len(known)} of {len(values)} values are NaN"
        p = UNDECIDED if p == HOLDS else p
    scale = max((abs(end) for end in region.ends), default=1.0) or 1.0
    return Measurement(
        condition,
        p,
        worst,
        float(known.min()),
        float(known.max()),
        n=len(values),
        not_finite=bad,
        note=note,
        whole=whole,
        spread=scale,
    )
