"""The conditions of verdicts, one row each: what the forest draws and what alt texts say of claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from workbench.claims.recording import load
from workbench.claims.shown import words
from workbench.claims.verdict import Measurement, Verdict

Row: TypeAlias = tuple[str, Verdict | Measurement]


def rows(claims: Any) -> list[Row]:
    """(name, measurement) of a verdict, several, or the content of a claims.json; (name, verdict) of one not measured."""
    if isinstance(claims, Mapping):
        claims = map(load, claims["claims"]) if "claims" in claims else claims.values()
    elif not isinstance(claims, Iterable):
        claims = [claims]
    found: list[Row] = []
    for verdict in claims:
        several = len(verdict.conditions) > 1
        found += [(f"{verdict.id}: {o.condition.name}" if several else verdict.id, o) for o in verdict.conditions]
        found += [] if verdict.conditions else [(verdict.id, verdict)]
    return found


def beside(row: Verdict | Measurement) -> str:
    """What was measured, with its interval, and what is claimed."""
    if isinstance(row, Verdict):
        return "not measured"
    return f"{words.number(row) or 'not measured'}, claimed {words.claimed(row.condition)}"


def in_words(claims: Any) -> list[str]:
    """One sentence per row: name, verdict, estimate with interval, region."""
    return [sentence(name, row) for name, row in rows(claims)]


def sentence(name: str, row: Verdict | Measurement) -> str:
    """The sentence of one row."""
    return f"{name}: {row.verdict} ({beside(row)})"
