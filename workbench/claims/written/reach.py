"""Whether a card's declared seeds can decide its claims: refused at the laptop preset, with the number that could."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..parameters.values import resolve
from ..statistics import seeds
from .condition import SKEWED, Condition
from .schema import CardFile, Claim


def wanted(claim: Claim, preset: str, parameters: Mapping[str, Any]) -> str:
    """Why a claim is not measured under a preset and parameters; empty when it is."""
    if claim.presets is not None and preset not in claim.presets:
        return f"needs preset {' or '.join(claim.presets)}"
    for name, value in claim.when.items():
        here, values = parameters.get(name), value if isinstance(value, list) else [value]
        if not (any(v in here for v in values) if isinstance(here, list) else here in values):
            return f"needs {name} = {' or '.join(map(str, values))}" + (
                f": {claim.when_reason}" if claim.when_reason else ""
            )
    return ""


def members(claims: list[Claim], preset: str, parameters: Mapping[str, Any]) -> int:
    """Claims with a random condition that the preset runs: the family."""
    return sum(claim.random and not wanted(claim, preset, parameters) for claim in claims)


def declared(claim: Claim, condition: Condition, preset: str, parameters: Mapping[str, Any]) -> int | None:
    """The declared number of seeds of a condition; None where the card says nothing."""
    given = claim.seeds_of(condition, preset)
    return parameters[given] if isinstance(given, str) else given


def least(condition: Condition, level: float) -> int:
    """The fewest seeds with which a condition can pass at a level."""
    name, region = condition.statistic, condition.region
    needed = [10 if name == "correlation" else 5 if name in SKEWED else 1]
    low, high = region.low, region.high
    if name == "bounded":
        a, c = condition.sides
        low = (low - a) / (c - a) if a is not None and c is not None else -math.inf
        high = (high - a) / (c - a) if a is not None and c is not None else math.inf
    if name == "median":
        needed.append(seeds.least_for_median(level))
    if name in ("share", "error_rate", "bounded"):
        needed += [seeds.least_for_share(low, True, level)] if 0 < low < 1 else []
        needed += [seeds.least_for_share(high, False, level)] if 0 < high < 1 else []
    return max(needed)


def missing(card: CardFile) -> Iterator[str]:
    """Claims without a control and conditions without a number of seeds: a draft may lack them, a published card may not."""
    for claim in card.claim:
        if not claim.control and not claim.control_none:
            yield f"claim {claim.id!r}: needs a [[claim.control]] that must flip it, or control_none = 'reason'"
        for condition in claim.condition:
            if condition.random and claim.seeds_of(condition, "laptop") is None:
                yield f"{_place(claim, condition)}: needs seeds: a number, or the name of a parameter"


def _place(claim: Claim, condition: Condition) -> str:
    return f"claim {claim.id!r}" + (f", condition {condition.name!r}" if len(claim.condition) > 1 else "")


def problems(card: CardFile) -> Iterator[str]:
    """What the laptop preset cannot decide."""
    laptop = resolve(card.parameters, "laptop", {}, {})
    m = members(card.claim, "laptop", laptop)
    for claim in card.claim:
        for condition in claim.condition:
            where = _place(claim, condition)
            if not condition.random:
                continue
            given = claim.seeds_of(condition, "laptop")
            if given is None:
                continue
            if isinstance(given, str) and not isinstance(laptop.get(given), int):
                yield f"{where}, seeds: there is no whole-number parameter {given!r}"
                continue
            n = declared(claim, condition, "laptop", laptop) or 0
            if wanted(claim, "laptop", laptop) or claim.control_none:
                continue
            k = len(claim.condition) if claim.require == "some" else 1
            needed = least(condition, seeds.level(m) / k)
            if n < needed:
                yield (
                    f"{where}: {n} seeds cannot decide a {condition.statistic} {condition.region.words()} in a family of "
                    f"{m} random claims; {needed} could"
                )
