"""How many seeds decide: what a number of seeds can reach, and what it would take."""

from __future__ import annotations

import math

from scipy import special

from .evidence import LEVEL

MOST = 1000


def level(m: int) -> float:
    """Of one claim in a family of m, reachable whatever the other claims do."""
    return min(LEVEL, 0.05 / max(m, 1))


def least_for_share(threshold: float, at_least: bool, of_level: float) -> int:
    """The fewest seeds of which all (none) make "a share of at least (at most) `threshold`" pass."""
    chance = threshold if at_least else 1 - threshold
    return math.ceil(round(math.log(of_level) / math.log(chance), 9))


def least_for_median(of_level: float) -> int:
    """The fewest seeds on one side of which the sign test passes."""
    return math.ceil(round(-math.log2(of_level), 9))


def for_share(k: int, n: int, threshold: float, at_least: bool, of_level: float) -> int | None:
    """The fewest seeds that pass at the share k/n; None beyond 1000 or on the other side of the threshold."""
    share = k / n if at_least else 1 - k / n
    bound = threshold if at_least else 1 - threshold
    if share <= bound:
        return None
    for seeds in range(1, MOST + 1):
        successes = math.floor(seeds * share + 1e-9)
        if successes and special.bdtrc(successes - 1, seeds, bound) <= of_level:
            return seeds
    return MOST + 1


def for_mean(effect: float, of_level: float, power: float = 0.8) -> int | None:
    """Seeds that decide a mean which lies `effect` standard deviations inside, with the given power; None for no effect."""
    if not effect > 0:
        return None
    z, further = (float(special.ndtri(p)) for p in (1 - of_level, power))
    plain = ((z + further) / effect) ** 2 + z * z / 2
    return min(math.ceil(plain * (1.35 if plain < 30 else 1.15)), MOST + 1)
