"""Many jobs' measured arrays as one xarray object whose dimensions are the swept parameters."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray

from workbench.batch import papers
from workbench.batch.jobs import Job, Sources
from workbench.batch.results.store import Record, Store

Raw = dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]


def select(store: Store, paper: str | None, preset: str | None, wanted: Mapping[str, Any]) -> list[Record]:
    """One finished record per request, with the wanted parameters (a list allows several values).

    Of several results for one request, the one that stands for the present sources is taken, otherwise the latest.

    Raises:
        ValueError: where nothing fits, or the choice of paper or preset is not unique.
    """
    if paper is None:
        if len(store.papers()) != 1:
            raise ValueError(f"paper: name one of those in {store.root}: {', '.join(store.papers()) or 'none'}")
        (paper,) = store.papers()
    records = [r for r in store.records(paper) if r.finished and "results.nc" in r.content["files"]]
    if not records:
        raise ValueError(
            f"{store.root} holds no finished job of {paper!r} with measured arrays: `workbench run {paper}`"
        )
    known = sorted({name for record in records for name in record.content["parameters"]})
    for name in wanted:
        if name not in known:
            raise ValueError(f"{name}: {paper} has no such parameter; it has {', '.join(known)}")
    if preset is not None:
        records = [record for record in records if record.content["preset"] == preset]
    fitting = [record for record in records if _fits(record.content["parameters"], wanted)]
    if not fitting:
        raise ValueError(f"no finished job of {paper!r} fits preset={preset!r}, {dict(wanted)}")
    presets = sorted({record.content["preset"] for record in fitting})
    if len(presets) > 1:
        raise ValueError(f"preset: {paper} was run with {', '.join(presets)}; choose one, as in preset={presets[0]!r}")
    return _latest(paper, fitting)


def _fits(parameters: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def equal(value: Any, wish: Any) -> bool:
        if isinstance(wish, (list, tuple, set, range, np.ndarray)) and not isinstance(value, list):
            return value in list(wish)
        return value == wish

    return all(name in parameters and equal(parameters[name], wish) for name, wish in wanted.items())


def _latest(paper: str, records: Sequence[Record]) -> list[Record]:
    by_key: dict[str, list[Record]] = {}
    for record in records:
        by_key.setdefault(record.content["key"], []).append(record)
    place = papers.place_of(paper)
    sources = None if place is None else Sources()
    chosen, outdated = [], 0
    for same in by_key.values():
        standing = None
        if place is not None and sources is not None:
            content = same[0].content
            job = Job(paper, *place, content["preset"], content["parameters"])
            standing = next((record for record in same if not sources.changes(job, record.content)), None)
            outdated += standing is None
        if standing is None:
            standing = same[0] if len(same) == 1 else max(same, key=lambda r: r.json("provenance.json")["finished"])
        chosen.append(standing)
    if outdated:
        warnings.warn(
            f"{outdated} of {len(chosen)} jobs of {paper} are older than the present code or environment; "
            f"`workbench run` redoes them",
            stacklevel=4,
        )
    return chosen


def axes(parameters: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, np.ndarray]]]:
    """The swept parameters of some jobs: those that become dimensions, and those that depend on one of these.

    Returns:
        Dimension name to its value per job, and dependent name to (dimension, its value per job). Lists become JSON text.
    """
    names = [name for name in parameters[0] if len({_text(point.get(name)) for point in parameters}) > 1]
    values = {name: _column([point.get(name) for point in parameters]) for name in names}
    dimensions: dict[str, np.ndarray] = {}
    dependent: dict[str, tuple[str, np.ndarray]] = {}
    for name in names:
        for other, column in dimensions.items():
            pairs = {(a, b) for a, b in zip(column.tolist(), values[name].tolist(), strict=True)}
            if len(pairs) == len(set(column.tolist())):  # zipped: one value for each value of the other
                dependent[name] = (other, values[name])
                break
        else:
            dimensions[name] = values[name]
    return dimensions, dependent


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _column(values: list[Any]) -> np.ndarray:
    if all(isinstance(value, (int, float)) for value in values):
        return np.array(values)
    return np.array([value if isinstance(value, str) else _text(value) for value in values])


def read(path: Path) -> dict[str, Raw]:
    """The variables of each group of a results file as they are stored; far cheaper than a Dataset per file."""
    found: dict[str, Raw] = {}
    # Without weak references a group outlives its file until some later garbage collection, which then closes whichever
    # file has got the same number since.
    with netCDF4.Dataset(path, keepweakref=True) as file:
        for name, group in {"": file, **file.groups}.items():
            group.set_auto_maskandscale(False)
            raw = {
                variable.name: (
                    variable.dimensions,
                    variable[...],
                    {a: variable.getncattr(a) for a in variable.ncattrs()},
                )
                for variable in group.variables.values()
            }
            if raw:
                found[name] = raw
    return found


def stack(files: Sequence[dict[str, Raw]], group: str) -> xarray.Dataset:
    """One group of many files along a new first dimension `run`.

    Coordinates that agree are kept once. Files whose shapes or coordinates differ are aligned by coordinate values, with
    missing values where a file has none.
    """
    raws = [file.get(group) for file in files]
    first = next(raw for raw in raws if raw)
    if all(raw is not None and _alike(raw, first) for raw in raws):
        variables = {}
        for name, (dims, values, attrs) in first.items():
            arrays = [raw[name][1] for raw in raws if raw is not None]
            if name in dims or (all(np.array_equal(array, values) for array in arrays) and _is_coordinate(name, first)):
                variables[name] = xarray.Variable(dims, values, attrs)
            else:
                variables[name] = xarray.Variable(("run", *dims), np.stack(arrays), attrs)
        return xarray.decode_cf(xarray.Dataset(variables))
    decoded = [xarray.decode_cf(xarray.Dataset(dict(raw or {}))) for raw in raws]
    # Dimensions without coordinates (a number of seeds, say) are aligned by position.
    bare = {str(dim) for dataset in decoded for dim in dataset.dims if dim not in dataset.coords}
    decoded = [d.assign_coords({dim: np.arange(d.sizes[dim]) for dim in bare & {*map(str, d.dims)}}) for d in decoded]
    joined = xarray.concat(decoded, "run", join="outer", data_vars="all", coords="minimal", compat="override")
    return joined.drop_vars(bare)


def _alike(raw: Raw, first: Raw) -> bool:
    return raw.keys() == first.keys() and all(
        raw[name][0] == dims
        and raw[name][1].shape == values.shape
        and raw[name][1].dtype == values.dtype
        and (name not in dims or np.array_equal(raw[name][1], values))
        for name, (dims, values, _) in first.items()
    )


def _is_coordinate(name: str, raw: Raw) -> bool:
    return any(name in str(attrs.get("coordinates", "")).split() for _, _, attrs in raw.values())


def unfold(stacked: xarray.Dataset, records: Sequence[Record]) -> xarray.Dataset:
    """Replace `run` by the swept parameters; combinations that were not run are missing values."""
    dimensions, dependent = axes([record.content["parameters"] for record in records])
    stacked = stacked.assign_coords(job=("run", [record.content["hash"] for record in records]))
    for clash in {*dimensions, *dependent} & {*stacked.variables, *stacked.dims}:
        stacked = stacked.rename({clash: f"{clash}_measured"})
    if not dimensions:
        return stacked.isel(run=0)
    stacked = stacked.assign_coords({name: ("run", values) for name, values in dimensions.items()})
    if len(dimensions) == 1:
        (name,) = dimensions
        unfolded = stacked.swap_dims(run=name).sortby(name)
    else:
        grid = np.prod([len(np.unique(values)) for values in dimensions.values()])
        if grid > 20 * len(records):
            raise ValueError(
                f"{len(records)} jobs would be spread over a grid of {grid} combinations of {', '.join(dimensions)}: "
                f"select some, as in {next(iter(dimensions))}=..."
            )
        text = {name: "" for name, v in stacked.variables.items() if v.dtype.kind in "OUT" and name not in dimensions}
        unfolded = stacked.set_index(run=list(dimensions)).unstack("run", fill_value={**text} or xarray.core.dtypes.NA)
        unfolded = unfolded.transpose(*dimensions, ...)
    for name, (dimension, values) in dependent.items():
        pairs = dict(zip(dimensions[dimension].tolist(), values.tolist(), strict=True))
        unfolded = unfolded.assign_coords({name: (dimension, [pairs[v] for v in unfolded[dimension].values.tolist()])})
    return unfolded
