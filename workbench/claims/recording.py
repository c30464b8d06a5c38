"""Writing what a notebook measured into its job's folder, each file all at once or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .arrays import as_dataset, write_atomically, write_results
from .judging.family import Pair
from .judging.record import AtSize, Measurement
from .verdict import Verdict
from .written.condition import Condition
from .written.schema import Claim

__all__ = ["as_dataset", "as_json", "job_folder", "record", "write_claims", "write_results"]

FORMAT = 2
"""Of claims.json."""
DIGITS = 12
"""Significant digits of recorded numbers: the bits beyond them are rounding noise."""


def job_folder() -> Path | None:
    """The folder named by WORKBENCH_JOB, or None when nothing is to be recorded."""
    named = os.environ.get("WORKBENCH_JOB")
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise ValueError(f"WORKBENCH_JOB = {named!r} is not a folder: create it, or unset it to record nothing")
    return folder


def as_json(value: Any) -> Any:
    """`value` with its floats rounded to 12 digits and non-finite ones as "inf", "-inf", "nan"."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)
    return value


def record(verdict: Verdict) -> dict[str, Any]:
    """One claim's entry of claims.json; `load` makes the verdict of it again."""
    return {
        "id": verdict.id,
        "verdict": verdict.verdict,
        "alone": verdict.alone,
        "claim": verdict.claim.model_dump(exclude_defaults=True),
        "conditions": [_condition(one) for one in verdict.conditions],
        "sizes": [
            {"size": one.size, "state": one.state, "conditions": [_condition(c) for c in one.conditions]}
            for one in verdict.sizes
        ],
        "p": list(verdict.p),
        "level": verdict.level,
        "family": verdict.family,
        "reason": verdict.reason,
        "control": verdict.control,
    }


_MEASURED = ("estimate", "low", "high", "n", "comparisons", "not_finite", "successes", "note", "whole", "spread")
_FLOATS = frozenset({"estimate", "low", "high", "spread"})


def _condition(one: Measurement) -> dict[str, Any]:
    measured = {key: getattr(one, key) for key in _MEASURED}
    return {"name": one.condition.name, "verdict": one.verdict, "p": list(one.p), **measured}


def load(entry: Mapping[str, Any]) -> Verdict:
    """The verdict that `record` wrote.

    Raises:
        ValueError: for an entry of another version, or a damaged one.
    """
    try:
        claim = Claim.model_validate(_without_none(entry["claim"]))
        conditions = {condition.name: condition for condition in claim.condition}
        sizes = tuple(
            AtSize(number(one["size"]), one["state"], tuple(_measurement(c, conditions) for c in one["conditions"]))
            for one in entry["sizes"]
        )
        return Verdict(
            claim,
            entry["verdict"],
            entry["alone"],
            tuple(_measurement(one, conditions) for one in entry["conditions"]),
            sizes,
            Pair(*map(number, entry["p"])),
            entry["level"],
            entry["family"],
            entry["reason"],
            entry["control"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"claim {entry.get('id', '?')!r} was recorded by another version ({error!r:.80})") from None


def _measurement(entry: Mapping[str, Any], conditions: Mapping[str, Condition]) -> Measurement:
    values: dict[str, Any] = {key: number(entry[key]) if key in _FLOATS else entry[key] for key in _MEASURED}
    return Measurement(conditions[entry["name"]], Pair(*map(number, entry["p"])), **values)


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def number(value: Any) -> float:
    """A recorded number: JSON has none that are not finite, so these are the strings "inf", "-inf" and "nan"."""
    return math.nan if value is None else float(value)


def write_claims(path: Path, content: Mapping[str, Any]) -> None:
    """Write claims.json."""
    text = json.dumps(as_json(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
