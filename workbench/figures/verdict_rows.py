"""The conditions of verdicts, one row each: what the forest draws and what alt texts say of claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.claims.position import claimed, measured
from workbench.claims.recording import record


def rows(claims: Any) -> list[tuple[str, Mapping]]:
    """(name, condition with its verdict) of a verdict, several, entries of a claims.json, or its whole content."""
    if isinstance(claims, Mapping):
        claims = claims["claims"] if "claims" in claims else [claims] if "id" in claims else list(claims.values())
    elif not isinstance(claims, Iterable):
        claims = [claims]
    found: list[tuple[str, Mapping]] = []
    for claim in claims:
        claim = claim if isinstance(claim, Mapping) else record(claim)
        conditions = claim.get("conditions") or [{}]
        for condition in conditions:
            several = len(conditions) > 1 and condition.get("name") not in (None, "value")
            name = f"{claim.get('id', '?')}: {condition.get('name')}" if several else str(claim.get("id", "?"))
            found.append((name, {"verdict": claim.get("verdict", "not run"), **condition}))
    return found


def beside(condition: Mapping) -> str:
    """What was measured, with its interval, and what is claimed."""
    return f"{measured(condition) or 'not measured'}, claimed {claimed(condition)}"


def in_words(claims: Any) -> list[str]:
    """One sentence per row: name, verdict, estimate with interval, region."""
    return [sentence(name, condition) for name, condition in rows(claims)]


def sentence(name: str, condition: Mapping) -> str:
    """The sentence of one row."""
    return f"{name}: {condition.get('verdict') or 'not run'} ({beside(condition)})"
