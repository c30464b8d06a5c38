"""Many jobs' measured arrays as one xarray object whose dimensions are the swept parameters.

What a job did not measure (a combination that was not run, a shorter array) is a missing value: NaN for numbers and truth values,
which then are floating-point, NaT for dates and durations, "" for text. Where nothing is missing, every type is as it was saved.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray

from workbench.batch.results.axes import LabelIndex, axes, places
from workbench.batch.results.store import Record
from workbench.claims.arrays import Array, Group

EXACT = 2**53  # whole numbers up to this one are floating-point numbers too
JOB = "job"


def combine(groups: Sequence[Group | None], records: Sequence[Record]) -> xarray.Dataset:
    """One group of many jobs as a Dataset over the swept parameters.

    Coordinates that agree are kept once. Dimensions with coordinates are aligned by their values, others by position.

    Raises:
        ValueError: naming the variable and the jobs where units, types or dimensions differ; where jobs fill a grid thinly.
    """
    parameters = [record.content["parameters"] for record in records]
    swept, dependent = axes(parameters)
    measured = [group for group in groups if group is not None]
    taken = {name for group in measured for name, array in group.arrays.items() for name in (name, *array.dims)}
    grid = _Grid(swept, dependent, records)
    clashes = {*swept, *dependent, JOB} & taken
    renamed = {name: _free(name, taken | {*swept, *dependent}) for name in clashes}
    arrays = {
        renamed.get(name, name): [
            None if group is None else _renamed(group.arrays.get(name), renamed) for group in groups
        ]
        for name in dict.fromkeys(name for group in measured for name in group.arrays)
    }
    dims = _Dims(arrays, records)
    variables: dict[str, xarray.Variable] = {}
    coordinates: dict[str, xarray.Variable] = {}
    for name, members in arrays.items():
        variable = _joined(name, members, dims, grid, records)
        if variable is not None:
            (coordinates if _is_coordinate(members) else variables)[name] = variable
    coordinates |= grid.coordinates()
    attrs = _common([group.attrs for group in measured])
    return as_dataset(variables, coordinates, {k: v for k, v in attrs.items() if k not in _OWN_ATTRIBUTES})


_OWN_ATTRIBUTES = ("paper", "preset", "jobs", "parameters")


def as_dataset(
    variables: Mapping[str, xarray.Variable], coordinates: Mapping[str, xarray.Variable], attrs: Mapping[str, Any]
) -> xarray.Dataset:
    """A Dataset in which an axis of truth values is selected by its labels."""
    dataset = xarray.Dataset(variables, coordinates, attrs)
    for name, coordinate in coordinates.items():
        if coordinate.dtype.kind == "b" and coordinate.dims == (name,):
            dataset = dataset.drop_indexes(name).set_xindex(name, LabelIndex)
    return dataset


class _Grid:
    """Where each job stands among the swept parameters."""

    def __init__(
        self, swept: Mapping[str, np.ndarray], dependent: Mapping[str, tuple], records: Sequence[Record]
    ) -> None:
        found = {name: places(column) for name, column in swept.items()}
        self.values = {name: values for name, (values, _) in found.items()}
        self.dims = tuple(swept)
        self.shape = tuple(len(values) for values in self.values.values())
        self.where = tuple(where for _, where in found.values())
        self._dependent, self._records = dependent, records
        if math.prod(self.shape) > 20 * len(records):
            raise ValueError(
                f"{len(records)} jobs would be spread over a grid of {math.prod(self.shape)} combinations of "
                f"{', '.join(swept)}: select some, as in {next(iter(swept))}=..."
            )
        seen: dict[tuple, int] = {}
        for job, place in enumerate(zip(*self.where, strict=True) if swept else [()] * len(records)):
            if place in seen:
                point = ", ".join(f"{name} = {self.values[name][i]}" for name, i in zip(self.dims, place, strict=True))
                raise ValueError(
                    f"jobs {_job(records[seen[place]])} and {_job(records[job])} both stand at {point or 'one point'}"
                )
            seen[place] = job
        self.full = len(seen) == math.prod(self.shape)

    def coordinates(self) -> dict[str, xarray.Variable]:
        found = {name: xarray.Variable(name, values) for name, values in self.values.items()}
        for name, (dimension, column) in self._dependent.items():
            first = np.unique(self.where[self.dims.index(dimension)], return_index=True)[1]
            found[name] = xarray.Variable(dimension, column[first])
        folders = np.full(self.shape, "", dtype=f"<U{max(len(_job(record)) for record in self._records)}")
        folders[self.where if self.dims else ...] = (
            [_job(record) for record in self._records] if self.dims else _job(self._records[0])
        )
        found[JOB if JOB not in found else _free(JOB, set(found))] = xarray.Variable(self.dims, folders)
        return found


class _Dims:
    """The measured dimensions: labels where they have coordinates, the greatest length where they have none."""

    def __init__(self, arrays: Mapping[str, Sequence[Array | None]], records: Sequence[Record]) -> None:
        self._labels: dict[str, np.ndarray] = {}
        self._indices: dict[str, list[np.ndarray | None]] = {}
        self.sizes: dict[str, int] = {}
        lengths: dict[str, dict[int, int]] = {}
        for members in arrays.values():
            for job, array in enumerate(members):
                for dim, size in zip(array.dims, array.values.shape, strict=True) if array is not None else ():
                    lengths.setdefault(dim, {})[job] = size
        for dim, sizes in lengths.items():
            labels = [array if array is None or array.dims == (dim,) else None for array in arrays.get(dim, ())]
            jobs = [job for job, array in enumerate(labels) if array is not None]
            if jobs and set(jobs) != set(sizes):
                without = next(job for job in sizes if job not in jobs)
                raise ValueError(
                    f"dimension {dim!r} has coordinates in job {_job(records[jobs[0]])} and none in {_job(records[without])}"
                )
            if jobs:
                _require_one_type(dim, labels, records)
                self._align(dim, [None if array is None else array.values for array in labels], records)
            else:
                self.sizes[dim] = max(sizes.values())

    def _align(self, dim: str, labels: Sequence[np.ndarray | None], records: Sequence[Record]) -> None:
        first = next(values for values in labels if values is not None)
        if all(values is None or _same(values, first) for values in labels):
            self._labels[dim], self.sizes[dim] = first, len(first)
            return
        for job, values in enumerate(labels):
            if values is not None and len(np.unique(values)) < len(values):
                raise ValueError(f"dimension {dim!r} has labels twice in job {_job(records[job])} and others elsewhere")
        union = np.unique(np.concatenate([values for values in labels if values is not None]))
        self._labels[dim], self.sizes[dim] = union, len(union)
        self._indices[dim] = [None if values is None else np.searchsorted(union, values) for values in labels]

    def labels(self, dim: str) -> np.ndarray | None:
        """The labels of a dimension, None where it has none."""
        return self._labels.get(dim)

    def place(self, array: Array, job: int) -> tuple[Any, ...]:
        """Where the entries of one job's array stand, as an index."""
        found = [self._indices[dim][job] if dim in self._indices else None for dim in array.dims]
        sizes = array.values.shape
        if all(one is None for one in found):
            return tuple(slice(size) for size in sizes)
        return np.ix_(*(np.arange(n) if one is None else one for one, n in zip(found, sizes, strict=True)))


def _joined(
    name: str, members: Sequence[Array | None], dims: _Dims, grid: _Grid, records: Sequence[Record]
) -> xarray.Variable | None:
    """One variable of all jobs, None where no array holds it."""
    first = next(array for array in members if array is not None)
    _require_one_type(name, members, records)
    attrs = _common([array.attrs for array in members if array is not None])
    if (labels := dims.labels(name)) is not None and first.dims == (name,):
        return xarray.Variable(first.dims, labels, attrs)
    everywhere = all(array is not None and _same(array.values, first.values) for array in members)
    shape = tuple(dims.sizes[dim] for dim in first.dims)
    if everywhere and _is_coordinate(members) and first.values.shape == shape:
        return xarray.Variable(first.dims, first.values, attrs)
    complete = grid.full and all(array is not None and array.values.shape == shape for array in members)
    kind = np.result_type(*{array.values.dtype for array in members if array is not None})
    if not complete and kind.kind in "biu":
        kind = np.dtype(np.float64)
    if kind.kind in "fc" and any(_beyond_floats(array) for array in members):
        warnings.warn(
            f"{name} is left out: it holds whole numbers beyond 2^53, which no floating-point number equals, and jobs or entries "
            "are missing or not whole; select jobs that form a complete grid",
            stacklevel=5,
        )
        return None
    total = np.full(
        (*grid.shape, *shape), "" if kind.kind == "U" else np.array("NaT", kind) if kind.kind in "mM" else 0, kind
    )
    if not complete and kind.kind in "fc":
        total[...] = np.nan
    for job, array in enumerate(members):
        if array is not None:
            place = tuple(where[job] for where in grid.where)
            total[(*place, *dims.place(array, job))] = array.values
    return xarray.Variable((*grid.dims, *first.dims), total, attrs)


def _beyond_floats(array: Array | None) -> bool:
    if array is None or array.values.dtype.kind not in "iu" or not array.values.size:
        return False
    return max(abs(int(array.values.min())), abs(int(array.values.max()))) > EXACT


def _require_one_type(name: str, members: Sequence[Array | None], records: Sequence[Record]) -> None:
    """ValueError unless a variable has the same dimensions and units in all jobs, and types that one array holds."""
    job, first = next((job, array) for job, array in enumerate(members) if array is not None)
    for other, array in enumerate(members):
        if array is None:
            continue
        pair = f"in job {_job(records[job])} and %s in job {_job(records[other])}"
        if array.dims != first.dims:
            raise ValueError(f"{name} has the dimensions {first.dims} {pair % (array.dims,)}")
        units = [entry.attrs.get("units") for entry in (first, array)]
        if str(units[0]) != str(units[1]):
            raise ValueError(
                f"{name} has the units {units[0]!r} {pair % repr(units[1])}: convert them where they are saved, or select jobs"
            )
        kinds = [_family(entry.values.dtype) for entry in (first, array)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"{name} holds {kinds[0]} {pair % kinds[1]}: save one type, or select jobs")


def _family(kind: np.dtype) -> str:
    names = {"b": "truth values", "U": "text", "M": "dates", "m": "durations"}
    return f"{names[kind.kind]} ({kind})" if kind.kind in "mM" else names.get(kind.kind, "numbers")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.array_equal(one, other, equal_nan=one.dtype.kind in "fcmM")
    )


def _is_coordinate(members: Sequence[Array | None]) -> bool:
    return all(array is None or array.coordinate for array in members)


def _common(attributes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The attributes on which all agree."""
    first, *others = attributes
    return {
        key: value
        for key, value in first.items()
        if all(key in other and _equal(other[key], value) for other in others)
    }


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and _same(one, other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _free(name: str, taken: set[str]) -> str:
    name = f"{name}_measured"
    while name in taken:
        name += "_"
    return name


def _renamed(array: Array | None, names: Mapping[str, str]) -> Array | None:
    return None if array is None else replace(array, dims=tuple(names.get(dim, dim) for dim in array.dims))


def _job(record: Record) -> str:
    return str(record.content["hash"])
