"""The parts of a sweep, one per static point, side by side in one Dataset."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from workbench.dynamics.labelled import Labelled, data_array


def dataset(values: Mapping[str, Labelled], grid: Mapping[str, Sequence[Any]]) -> xr.Dataset:
    """The values over the grid of the moving axes."""
    variables = {
        name: data_array(v.value, v.dims, {**grid, **v.coords}, v.unit, v.long_name) for name, v in values.items()
    }
    found = xr.Dataset(variables)
    if "diverged" in found:
        found["diverged"].attrs["long_name"] = "run diverged"
    if "diverged_at" in found:
        found["diverged_at"].attrs |= {"long_name": "step at which the divergence was seen", "units": "steps"}
    return found


def joined(parts: Sequence[xr.Dataset | None], fixed: Mapping[str, Sequence[Any]], order: Sequence[str]) -> xr.Dataset:
    """All static points side by side: records at different steps are aligned with NaN, dimensions without coordinates are
    filled up with NaN, coordinates that differ (the epochs of a step) get the static axis too. A missing part is NaN.

    Raises ValueError naming axis and variable where the parts cannot be put side by side.
    """
    template = next(part for part in parts if part is not None)
    listed = [part if part is not None else template.map(lambda v: v.astype(float).where(False)) for part in parts]
    _refuse_other_variables(listed, fixed)
    listed = _filled_up(listed)
    for name, values in reversed(list(fixed.items())):
        coordinate = xr.DataArray([_text(value) for value in values], dims=name, name=name)
        size = len(values)
        listed = [
            _side_by_side(listed[i : i + size], coordinate) if size > 1 else listed[i].expand_dims({name: coordinate})
            for i in range(0, len(listed), size)
        ]
    found = listed[0]
    return found.transpose(*[name for name in order if name in found.dims], ...)


def _side_by_side(parts: Sequence[xr.Dataset], coordinate: xr.DataArray) -> xr.Dataset:
    try:
        return xr.concat(
            parts,
            dim=coordinate,
            join="outer",
            combine_attrs="override",
            coords="different",
            compat="equals",
            data_vars="all",
        )
    except ValueError as error:
        raise ValueError(
            f"the results at the points of the axis {coordinate.name} do not fit together: {error}"
        ) from error


def _refuse_other_variables(parts: Sequence[xr.Dataset], fixed: Mapping[str, Sequence[Any]]) -> None:
    points = list(itertools.product(*fixed.values()))
    for part, point in zip(parts[1:], points[1:], strict=False):
        for name in {*parts[0].data_vars} ^ {*part.data_vars}:
            lacking = point if name in parts[0].data_vars else points[0]
            where = ", ".join(f"{axis}={value!r}" for axis, value in zip(fixed, lacking, strict=True))
            raise ValueError(f"the swept function returns {name} at some static points, but not at {where}")
        for name in part.data_vars:
            one, other = parts[0][name].dims, part[name].dims
            if one != other:
                where = ", ".join(f"{axis}={value!r}" for axis, value in zip(fixed, point, strict=True))
                raise ValueError(f"{name} has the dimensions {other} at {where}, but {one} at the first point")


def _filled_up(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    sizes: dict[str, int] = {}
    for part in parts:
        for dim, size in part.sizes.items():
            if dim not in part.coords:
                sizes[str(dim)] = max(size, sizes.get(str(dim), 0))
    return [
        part.pad({dim: (0, size - part.sizes[dim]) for dim, size in sizes.items() if part.sizes.get(dim, size) < size})
        for part in parts
    ]


def _text(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, np.generic)) else str(value)
