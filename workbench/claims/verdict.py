"""Where a verdict is decided: samples against the region of each condition, the conditions of a claim together.

`measure` makes one condition's measurement, `verdict_of` the claim's; the family of the paper's claims then decides the
badge (`family.ladder`). The record that results serves notebook, terminal, report and store alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import family
from .family import HOLDS, UNDECIDED, VIOLATED, Pair, Size
from .regions import Region
from .schema import Claim, Condition
from .statistics import counts, mean, pairs, seeds
from .statistics.bounded import bounded
from .statistics.evidence import Evidence
from .statistics.samples import as_array, parts, rows

REPRODUCED, CONTRADICTED, INCONCLUSIVE = "reproduced", "contradicted", "inconclusive"
CONSISTENT, NOT_RUN = "consistent, not tested", "not run"
VERDICTS = (REPRODUCED, CONTRADICTED, INCONCLUSIVE, CONSISTENT, NOT_RUN)


@dataclass(frozen=True)
class Measurement:
    """What was measured for one condition, and what follows.

    Several comparisons are represented by the worst one (`estimate`, `low`, `high`); `n` counts the seeds of each, or the
    values of an exact statement; `not_finite` counts NaN and infinite samples of all.

    Attributes:
        p: p-values of the condition: the largest `rep` and the smallest `con` of its comparisons.
        margin: how far the estimate lies inside the region, in standard deviations over seeds (for an exact statement in
            units of the end).
    """

    condition: Condition
    p: Pair = UNDECIDED
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    comparisons: int = 1
    not_finite: int = 0
    successes: int | None = None
    note: str = ""
    whole: bool = False
    margin: float = math.nan

    @property
    def verdict(self) -> str:
        """Of this condition alone."""
        return family.decide(Pair(self.p.rep, min(1.0, self.comparisons * self.p.con)))


@dataclass(frozen=True)
class AtSize:
    """A claim at one size along which it runs: holds, fails or open, with its measurements."""

    size: float
    state: str
    conditions: tuple[Measurement, ...]


@dataclass(frozen=True, repr=False)
class Verdict:
    """A claim with what was measured for it; readable as text and in a notebook.

    Attributes:
        claim: the statement, from the card.
        verdict: the badge: after the family of the paper's random claims has been judged.
        alone: the verdict of this claim by itself.
        conditions: one measurement per condition (along a size: of the worst size); empty when the claim was not run.
        sizes: along a size, the claim at each.
        p: the claim's p-values.
        level: at which the family judged it; None outside the family.
        family: number of random claims of the family.
        reason: why it was not run, or what else a reader must know ("the trend leaves the region").
        control: the control in force, under which the claim must not be reproduced.
        amendments: how often the claim was changed after it was sealed.
        unsealed: it was changed after its first verdict without an amendment.
        audit: agreement over fresh blocks and which controls flipped it, from the last audit.
    """

    claim: Claim
    verdict: str = NOT_RUN
    alone: str = NOT_RUN
    conditions: tuple[Measurement, ...] = ()
    sizes: tuple[AtSize, ...] = ()
    p: Pair = UNDECIDED
    level: float | None = None
    family: int = 0
    reason: str = ""
    control: str = "none"
    unsealed: str = ""
    audit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def amendments(self) -> int:
        return len(self.claim.amended)

    def __repr__(self) -> str:
        from .rendering import verdict_text  # rendering knows verdicts; a verdict only knows that it can be shown

        return verdict_text(self)

    def _repr_html_(self) -> str:
        from .rendering import verdict_html

        return verdict_html(self)


# ------------------------------------------------------------------------------------------------ one condition


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
    margin = -region.excess(worst.estimate) / worst.spread if worst.spread > 0 else math.nan
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
        margin=math.inf if worst.constant else margin,
    )
    return replace(one, note=_note(one, worst))


def _note(one: Measurement, worst: Evidence) -> str:
    notes = [worst.refused] if worst.refused else []
    if worst.constant:
        notes.append(f"no variation in {one.n} seeds; up to {1 - 0.025 ** (1 / one.n):.0%} of them may differ")
    if one.not_finite and not worst.refused:
        notes.append(f"{one.not_finite} of {one.n * one.comparisons} samples are not finite")
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
    needed = seeds.for_mean(one.margin, level) if math.isfinite(one.margin) else None
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
        margin=-region.excess(worst) / scale,
    )


# ------------------------------------------------------------------------------------------------ one claim


def combined(claim: Claim, conditions: tuple[Measurement, ...]) -> Pair:
    """The claim's p-values from those of its conditions; comparisons count as conditions."""
    random = sum(one.comparisons for one in conditions if one.condition.random)
    rule = family.all_hold if claim.require == "all" else family.some_hold
    return rule([one.p for one in conditions], random)


def verdict_of(claim: Claim, samples: Mapping[str, Any]) -> Verdict:
    """A claim's verdict by itself, from the samples of each condition."""
    conditions = tuple(measure(one, samples[one.name]) for one in claim.condition)
    p = combined(claim, conditions)
    return Verdict(claim, family.decide(p), family.decide(p), conditions, p=p)


def verdict_along(claim: Claim, samples: Mapping[str, Mapping[float, Any]]) -> Verdict:
    """A claim's verdict along a size, from the samples of each condition at each size.

    Raises:
        ValueError: when the conditions do not have the same sizes, or sizes are out of order.
    """
    sizes = list(next(iter(samples.values())))
    if any(list(one) != sizes for one in samples.values()):
        raise ValueError(f"along {claim.along}: every condition needs samples at the same sizes, in the same order")
    if sizes not in (sorted(sizes), sorted(sizes, reverse=True)) or not sizes:
        raise ValueError(f"along {claim.along}: give the sizes in order, got {sizes}")
    measured = [tuple(measure(one, samples[one.name][size]) for one in claim.condition) for size in sizes]
    at = [
        Size(float(size), combined(claim, found), min((one.margin for one in found), default=math.nan))
        for size, found in zip(sizes, measured, strict=True)
    ]
    first, last = claim.range or (min(sizes), max(sizes))
    inside = [k for k, size in enumerate(sizes) if first <= size <= last]
    if not inside:
        raise ValueError(f"along {claim.along}: no tested size lies in the claimed range [{first:g}, {last:g}]")
    claimed = [at[k] for k in inside]
    p = family.along(claimed)
    reason = "the trend leaves the region" if p.con > family.LEVEL and family.leaves(claimed) else ""
    p = Pair(1.0, p.con) if reason else p
    worst = max(inside, key=lambda k: (-min(at[k].pair.con, 0.0251), at[k].pair.rep, -at[k].margin))
    one = Verdict(claim, family.decide(p), family.decide(p), measured[worst], p=p, reason=reason)
    return at_level(replace(one, sizes=tuple(AtSize(s.size, "", m) for s, m in zip(at, measured, strict=True))))


def at_level(one: Verdict, level: float = family.LEVEL) -> Verdict:
    """The states of the sizes at the level at which the family judged the claim."""
    k = len(one.sizes)
    states = [family.state(combined(one.claim, size.conditions), k, level) for size in one.sizes]
    return replace(one, sizes=tuple(replace(s, state=new) for s, new in zip(one.sizes, states, strict=True)))


def badges(verdicts: Mapping[str, Verdict], members: int) -> dict[str, Verdict]:
    """Every claim's badge after the family ladder.

    Args:
        verdicts: of the claims measured so far.
        members: number of claims with a random condition that the preset runs, measured or not.
    """
    found = dict(verdicts)
    random = [name for name, one in found.items() if one.claim.random and one.alone != NOT_RUN]
    for name, (verdict, level) in zip(random, family.ladder([found[n].p for n in random], members), strict=True):
        judged = replace(found[name], verdict=verdict, level=level, family=members)
        found[name] = at_level(judged, level) if judged.sizes else judged
    for name, one in found.items():
        if one.claim.control_none and one.alone == REPRODUCED:
            found[name] = replace(one, verdict=CONSISTENT)
    return found
