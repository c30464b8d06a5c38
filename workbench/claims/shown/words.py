"""A verdict in words: what is claimed, what was measured, who says so. Notebook, terminal, report and figures say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..judging.record import CONSISTENT, CONTRADICTED, INCONCLUSIVE, NOT_RUN, REPRODUCED, Measurement, Record
from ..written.condition import Condition
from ..written.schema import Claim
from . import tex
from .numbers import exact, plain, rounded

SYMBOLS = {REPRODUCED: "✔", CONTRADICTED: "✘", INCONCLUSIVE: "?", CONSISTENT: "○", NOT_RUN: "–"}
COLOURS = {
    REPRODUCED: "#029e73",
    CONTRADICTED: "#d0500f",
    INCONCLUSIVE: "#c27c00",
    CONSISTENT: "#5b8db8",
    NOT_RUN: "#8a8a8a",
}
"""Of each verdict, on light and on dark pages alike, far apart without colour vision; a symbol and a word stand beside it."""
STYLES = {REPRODUCED: "green", CONTRADICTED: "red", INCONCLUSIVE: "yellow", CONSISTENT: "cyan", NOT_RUN: "dim"}
"""The same in a terminal."""

_KINDS = {
    "ratio": "geometric mean",
    "agreement": "mean",
    "slope": "mean slope",
    "pooled": "ratio of means",
    "position": "mean contrast",
    "correlation": "Kendall's tau",
    "bounded": "mean",
}


def claimed(condition: Condition) -> str:
    """The claimed region: `≤ 0.8 pp`, `in [0.8, 1.25]`, `= 2 ± 0.15`."""
    return condition.region.words(condition.unit)


def paper_value(claim: Claim) -> str:
    """What the paper reports."""
    # pyrefly: ignore[unnecessary-type-conversion]
    return plain(claim.paper) if isinstance(claim.paper, float) else str(claim.paper) or "–"


def statement(claim: Claim) -> str:
    """The statement for a terminal."""
    return claim.plain or tex.plain(claim.statement)


def origin(claim: Claim) -> str:
    """Printed, derived, or what it corrects."""
    return f"corrects {claim.printed}" if claim.printed else claim.origin


def number(one: Measurement) -> str:
    """The measured value with its interval: `0.676 [0.61, 0.751] pp`; empty if nothing was measured."""
    condition, region = one.condition, one.condition.region
    unit = f" {condition.unit}" if condition.unit not in ("", "1") else ""
    if one.estimate != one.estimate:
        return ""
    ends = list(region.ends) + ([condition.threshold] if isinstance(condition.threshold, float) else [])
    if condition.statistic == "value":
        # With a tolerance, the threshold itself is worth telling from the value too.
        text, short = exact(one.estimate, region.low, region.high, whole=one.whole), rounded(one.estimate, ends)
        return (short if text == rounded(one.estimate, region.ends) else text) + unit
    if condition.statistic in ("share", "error_rate"):
        return f"{one.successes} of {one.n} seeds [{rounded(one.low, [1.0])}, {rounded(one.high, [1.0])}]"
    scale = max(abs(one.low), abs(one.high)) if condition.statistic not in ("ratio", "median", "pooled") else None
    estimate, low, high = (rounded(value, ends, scale) for value in (one.estimate, one.low, one.high))
    if one.low == one.high or (one.low == -math.inf and one.high == math.inf):  # constant, or refused
        return f"{estimate}{unit}"
    return f"{estimate} [{low}, {high}]{unit}"


def ours(one: Measurement) -> str:
    """With statistic, sample size and notes: `mean -0.24 [-0.32, -0.16] pp (95 %, n = 30)`."""
    statistic = one.condition.statistic
    if one.n == 0:
        return one.note or "nothing measured"
    notes = f"; {one.note}" if one.note else ""
    if statistic == "value":
        return (f"worst of {one.n}: " if one.n > 1 else "") + (number(one) or "–") + notes
    worst = f"worst of {one.comparisons} comparisons: " if one.comparisons > 1 else ""
    if statistic in ("share", "error_rate"):
        return f"{worst}{number(one)} (95 %){notes}"
    return f"{worst}{_KINDS.get(statistic, statistic)} {number(one) or '–'} (95 %, n = {one.n}){notes}"


def sizes(verdict: Record) -> str:
    """Along a size: `holds for n = 4 … 11, fails from 12, open at 13`; empty for other claims."""
    if not verdict.sizes:
        return ""
    name, parts = verdict.claim.along, []
    runs: list[tuple[str, list[float]]] = []
    for one in verdict.sizes:
        if runs and runs[-1][0] == one.state:
            runs[-1][1].append(one.size)
        else:
            runs.append((one.state, [one.size]))
    for state, members in runs:
        span = plain(members[0]) + (f" … {plain(members[-1])}" if len(members) > 1 else "")
        verb = {"holds": "holds for", "fails": "fails at", "open": "open at"}[state]
        parts.append(f"{verb} {name} = {span}" if not parts else f"{verb} {span}")
    return ", ".join(parts)


def badge(verdict: Record) -> str:
    """The verdict, and what it would be outside the family: `inconclusive (alone: reproduced)`."""
    if verdict.verdict == INCONCLUSIVE and verdict.alone in (REPRODUCED, CONTRADICTED) and not verdict.reason:
        return f"{verdict.verdict} (alone: {verdict.alone})"
    return verdict.verdict


def controls(verdict: Record) -> str:
    """What must flip the claim, and whether it did: `rho-zero flips it (inconclusive)`, `not audited: rho-zero`."""
    claim = verdict.claim
    if claim.control_none:
        return f"none can: {claim.control_none}"
    found: Mapping[str, Any] = verdict.audit.get("controls", {})
    parts = []
    for one in claim.control:
        if one.name not in found:
            parts.append(f"{one.name} (not audited)")
        elif verdict.audit.get("committed") != REPRODUCED:
            parts.append(f"{one.name} ({found[one.name]['verdict']} under it)")
        else:
            same = " (arms identical)" if found[one.name].get("identical") else ""
            parts.append(f"{one.name} {'flips it' if found[one.name]['flipped'] else 'DOES NOT FLIP IT'}{same}")
    return ", ".join(parts)


def agreement(verdict: Record) -> str:
    """Share of fresh blocks that gave this verdict, from the last audit: `8 of 8 blocks`; empty without one."""
    blocks = verdict.audit.get("blocks", [])
    if not blocks:
        return ""
    stale = ", stale" if verdict.audit.get("stale") else ""
    return f"{sum(one == verdict.audit.get('committed') for one in blocks)} of {len(blocks)} blocks{stale}"


def remarks(verdict: Record) -> list[str]:
    """Everything else a reader must know: setting, trend, seal, expectation, why not run."""
    claim = verdict.claim
    found = [verdict.reason] if verdict.reason else []
    if claim.setting:
        what = "a contradiction speaks of this setting" if verdict.verdict == CONTRADICTED else "about the direction"
        found.append(f"setting: {claim.setting} ({what})")
    if verdict.control != "none" and verdict.verdict != NOT_RUN:
        found.append(f"under control {verdict.control}, where it must not be reproduced")
    if verdict.unsealed:
        found.append(verdict.unsealed)
    found += [f"amended {one.date}: was {one.was}; {one.why}" for one in claim.amended]
    return found
