"""What changed between two reports, from the data that each report carries inside."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.claims.recording import number

MARK = "workbench-report-data"
ROUNDING = 1e-6  # relative difference below which two values without an interval are the same


def embedded(report: Path) -> dict[str, Any]:
    """The data inside a report page.

    Raises:
        ValueError: there is no such file, or it is not a report of the workbench.
    """
    try:
        page = report.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(
            f"compare = {str(report)!r}: cannot be read ({problem}); name the HTML page of an older report"
        ) from None
    found = re.search(rf'<script type="application/json" id="{MARK}">(.*?)</script>', page, re.DOTALL)
    try:
        content = json.loads(found.group(1)) if found else None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("papers"), dict):
        raise ValueError(
            f"compare = {str(report)!r} holds no report data: name an HTML page written by `workbench report`"
        )
    return content


def for_script(content: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element: no character in it can end the element or open a comment."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Differences between two reports' data.

    Returns:
        `verdicts` (claims whose verdict changed), `moved` (estimates outside the other report's interval; values without
        an interval that differ), `regions` (claims whose threshold or relation was changed), `added` and `removed` claims
        and papers. Each entry has `paper`, `claim`, what was `before` and is `after`, `way` (towards the claim or away from
        it) and `why` (what else differs between the two runs); `reasons` lists that for every paper of an entry.
    """
    found: dict[str, list[dict]] = {
        "verdicts": [], "moved": [], "regions": [], "added": [], "removed": [], "reasons": []
    }  # fmt: skip
    before, after = old["papers"], new["papers"]
    for slug in sorted({*before, *after}):
        if slug not in before or slug not in after:
            many = len((after.get(slug) or before[slug])["claims"])
            side = "added" if slug in after else "removed"
            found[side].append({"paper": slug, "claim": "", "note": f"the paper, with {many} claims"})
            continue
        then, now = before[slug]["claims"], after[slug]["claims"]
        reasons = _reasons(before[slug], after[slug])
        known = count(found)
        for name in [*now, *(claim for claim in then if claim not in now)]:
            place = {"paper": slug, "claim": name}
            if name not in then or name not in now:
                side = "added" if name in now else "removed"
                found[side].append({**place, "note": (now.get(name) or then[name])["verdict"]})
                continue
            _compare(place, then[name], now[name], reasons, found)
        if reasons and count(found) > known:
            found["reasons"].append({"paper": slug, "note": "; ".join(reasons)})
    return found


def _reasons(before: Mapping, after: Mapping) -> list[str]:
    """What differs between two runs of a paper, beside their numbers."""
    found = []
    if before["preset"] != after["preset"]:
        found.append(f"preset {before['preset']}, now {after['preset']}")
    then, now = before["parameters"], after["parameters"]
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            found.append(f"{name} = {then.get(name, 'unknown')}, now {now.get(name, 'unknown')}")
    then, now = before.get("code", {}), after.get("code", {})
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            found.append(f"{name} {then.get(name, 'unknown')}, now {now.get(name, 'unknown')}")
    return found


def _compare(place: dict, then: Mapping, now: Mapping, reasons: list[str], found: dict[str, list[dict]]) -> None:
    edited = [name for name, one in now["conditions"].items() if _edited(then["conditions"].get(name), one)]
    why = "; ".join([*(["its region was edited in the card"] if edited else []), *reasons])
    why = why or "nothing else that was recorded differs"
    if then["verdict"] != now["verdict"]:
        way = _RANK.get(now["verdict"], 1) - _RANK.get(then["verdict"], 1)
        words = "for the claim" if way > 0 else "against the claim" if way < 0 else "neither way"
        found["verdicts"].append(
            {**place, "condition": "", "before": then["verdict"], "after": now["verdict"], "way": words, "why": why}
        )
    for name, condition in now["conditions"].items():
        earlier = then["conditions"].get(name)
        if earlier is None:
            continue
        place_of = {**place, "condition": name if len(now["conditions"]) > 1 else "", "way": _way(earlier, condition)}
        if name in edited:
            found["regions"].append(
                {**place_of, "before": earlier["claimed"], "after": condition["claimed"], "why": "the card was edited"}
            )
        if moved(earlier, condition):
            found["moved"].append(
                {**place_of, "before": earlier["measured"], "after": condition["measured"], "why": why}
            )


_RANK = {"reproduced": 3, "consistent, not tested": 2, "contradicted": 0}


def _edited(then: Mapping | None, now: Mapping) -> bool:
    return then is not None and then["claimed"] != now["claimed"]


def _way(then: Mapping, now: Mapping) -> str:
    """Where the estimate lies now, against the claimed region."""
    before, after = number(then.get("past")), number(now.get("past"))
    if math.isnan(before) or math.isnan(after):
        return ""
    side = "inside" if after >= 0 else "outside"
    if (before >= 0) != (after >= 0):
        return f"now {side} the claimed region"
    return f"further {side}" if abs(after) > abs(before) else f"{side}, nearer to the threshold"


def moved(then: Mapping, now: Mapping) -> bool:
    """Whether one estimate lies outside the other one's interval."""
    old, new = number(then.get("estimate")), number(now.get("estimate"))
    if math.isnan(old) or math.isnan(new):
        return False
    return _outside(new, then, old) or _outside(old, now, new)


def _outside(value: float, other: Mapping, estimate: float) -> bool:
    low, high = number(other.get("low")), number(other.get("high"))
    if low < high:
        return not low <= value <= high
    return not math.isclose(value, estimate, rel_tol=ROUNDING, abs_tol=1e-12)


def count(found: Mapping[str, list]) -> int:
    """Number of differences."""
    return sum(len(entries) for kind, entries in found.items() if kind != "reasons")
