"""Writing what a notebook measured into its job's folder, each file all at once or not at all."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .family import Pair
from .schema import Claim, Condition
from .verdict import AtSize, Measurement, Verdict

if TYPE_CHECKING:
    import xarray

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


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it to `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


_MEASURED = ("estimate", "low", "high", "n", "comparisons", "not_finite", "successes", "note", "whole", "margin")
_FLOATS = frozenset({"estimate", "low", "high", "margin"})


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
    values = {key: number(entry[key]) if key in _FLOATS else entry[key] for key in _MEASURED}
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


def _attribute(value: Any) -> Any:
    """An attribute netCDF can hold: None, booleans, dicts and mixed lists become JSON text."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
        return _attribute(value)
    if isinstance(value, (list, tuple)) and value:
        if all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value):
            return list(value)
        if all(isinstance(entry, str) for entry in value):
            return list(value)
    return json.dumps(as_json(value), default=str)


def as_dataset(name: str, array: Any) -> xarray.Dataset:
    """A Dataset or DataArray as a Dataset that netCDF can store."""
    import xarray

    if isinstance(array, xarray.DataArray):
        array = array.to_dataset(name=array.name or name)
    if not isinstance(array, xarray.Dataset):
        raise ValueError(f"card.save({name}=...): needs an xarray Dataset or DataArray, got {type(array).__name__}")
    array = array.copy()
    array.attrs = {str(key): _attribute(value) for key, value in array.attrs.items()}
    for variable in array.variables.values():
        variable.attrs = {str(key): _attribute(value) for key, value in variable.attrs.items()}
    return array


def write_results(path: Path, datasets: Mapping[str, xarray.Dataset]) -> None:
    """Write results.nc: one group per dataset."""

    def write(temporary: Path) -> None:
        for index, (name, dataset) in enumerate(datasets.items()):
            dataset.to_netcdf(temporary, mode="a" if index else "w", group=name, engine="netcdf4")

    write_atomically(path, write)
