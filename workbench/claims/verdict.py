"""Where a verdict is decided: the conditions of a claim together, along a size, in the family of the paper's claims.

`measuring.measure` makes one condition's two p-values, `verdict_of` and `verdict_along` the claim's; `badges` then judges the
family (`family.ladder`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .judging import family
from .judging.family import Pair, Size
from .judging.measuring import measure
from .judging.record import CONSISTENT, NOT_RUN, REPRODUCED, VERDICTS, AtSize, Measurement, Record
from .shown import rendering
from .written.schema import Claim


@dataclass(frozen=True, repr=False)
class Verdict(Record):
    """A claim with what was measured for it; readable as text and in a notebook."""

    def __repr__(self) -> str:
        return rendering.verdict_text(self)

    def _repr_html_(self) -> str:
        return rendering.verdict_html(self)


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
        Size(float(size), combined(claim, found), margin)
        for size, found, margin in zip(sizes, measured, _margins(measured), strict=True)
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


def _margins(measured: list[tuple[Measurement, ...]]) -> list[float]:
    """The smallest margin at each size, in standard deviations over seeds.

    One standard deviation per condition, pooled over the last three sizes: with its own at each size its noise (16 % for
    20 seeds) would make trends and hide them.
    """
    by_condition = []
    for found in zip(*measured, strict=True):
        spread = math.sqrt(sum(one.spread**2 for one in found[-3:]) / len(found[-3:]))
        by_condition.append([one.inside / spread if spread > 0 else math.inf for one in found])
    return [min(margins) for margins in zip(*by_condition, strict=True)]


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


__all__ = ["VERDICTS", "Measurement", "Verdict", "at_level", "badges", "combined", "verdict_along", "verdict_of"]
