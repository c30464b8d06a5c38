"""From p-values of conditions to those of a claim, and from the claims of a paper to its badges.

For each claim exactly one of "holds" and "does not hold" is true, so m claims have m true nulls, not 2 m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..statistics.evidence import LEVEL, clipped

FAMILY = 0.05


class Pair(NamedTuple):
    """One-sided p-values of the two verdicts: small `rep` supports the claim, small `con` contradicts it."""

    rep: float
    con: float


UNDECIDED, HOLDS, VIOLATED = Pair(1.0, 1.0), Pair(0.0, 1.0), Pair(1.0, 0.0)


def all_hold(pairs: Sequence[Pair], k: int) -> Pair:
    """Every condition must hold; `k` counts the random ones (exact ones enter as (0, 1) or (1, 0))."""
    return Pair(max(pair.rep for pair in pairs), clipped(max(k, 1) * min(pair.con for pair in pairs)))


def some_hold(pairs: Sequence[Pair], k: int) -> Pair:
    """One condition must hold: the mirror image."""
    return Pair(clipped(max(k, 1) * min(pair.rep for pair in pairs)), max(pair.con for pair in pairs))


def level(m: int, rank: int) -> float:
    """The ladder's level for the claim of this rank (0 is the smallest p) among m."""
    return min(LEVEL, FAMILY / (m - max(rank - 1, 0)))


def decide(pair: Pair, at: float = LEVEL) -> str:
    """The verdict of one claim at a level."""
    if min(pair) > at:
        return "inconclusive"
    return "reproduced" if pair.rep < pair.con else "contradicted"


def ladder(pairs: Sequence[Pair], m: int | None = None) -> list[tuple[str, float]]:
    """Verdict of every claim of a family, and the level at which it was judged.

    Args:
        m: size of the family, where not all of it has been measured.
    """
    m = max(m or 0, len(pairs))
    found: list[tuple[str, float]] = [("inconclusive", 0.0)] * len(pairs)
    stopped = None
    for rank, index in enumerate(sorted(range(len(pairs)), key=lambda k: min(pairs[k]))):
        at = stopped or level(m, rank)
        if stopped is None and min(pairs[index]) > at:
            stopped = at
        found[index] = ("inconclusive" if stopped else decide(pairs[index], at), at)
    return found


class Size(NamedTuple):
    """A claim at one size: its p-values, and how far its estimate lies inside the region (per standard deviation)."""

    size: float
    pair: Pair
    margin: float


def state(pair: Pair, k: int, at: float) -> str:
    """holds, fails or open: a tested size is a condition of its own among k."""
    if pair in (HOLDS, VIOLATED):
        return "holds" if pair == HOLDS else "fails"
    return {"reproduced": "holds", "contradicted": "fails"}.get(decide(pair, at / k), "open")


def along(sizes: Sequence[Size]) -> Pair:
    """The claim's p-values: every size must hold, one that fails contradicts, each tested at level / k."""
    k = len(sizes)
    return Pair(clipped(k * max(s.pair.rep for s in sizes)), clipped(k * min(s.pair.con for s in sizes)))


def leaves(sizes: Sequence[Size]) -> bool:
    """Whether the margin shrinks over the last three sizes so that a straight line in log size reaches the region's end
    before the last size doubles (halves, where sizes fall)."""
    last = sizes[-3:]
    if len(last) < 3 or not all(s.size > 0 and math.isfinite(s.margin) for s in last):
        return False
    margins = [s.margin for s in last]
    if not margins[0] > margins[1] > margins[2]:
        return False
    x = [math.log(s.size) for s in last]
    mean_x, mean_y = sum(x) / 3, sum(margins) / 3
    square = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, margins, strict=True)) / square
    further = math.copysign(math.log(2), x[-1] - x[0])
    return mean_y + slope * (x[-1] + further - mean_x) <= 0
