"""Evaluating a function of named scalars over a whole grid at once."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from workbench import memory as memory_budget
from workbench.dynamics.labelled import Labelled, data_array, label
from workbench.dynamics.run import _divergences
from workbench.parameters import ravel

Axes = Mapping[str, Sequence[Any]]


def sweep(
    function: Callable[..., Mapping[str, Any]],
    *,
    static: Sequence[str] = (),
    chunk_size: int | None = None,
    memory: float | None = None,
    progress: bool = True,
    **axes: Any,
) -> xr.Dataset:
    """Evaluate `function(**point)` at every point of the grid spanned by `axes`.

    The function is written for one run; `torch.func.vmap` evaluates all points at once, each numeric axis arriving as a
    0-dim tensor (int64 or float64). Axes that shape the computation (a number of steps, an optimizer's name) are named
    in `static` and arrive as they are; text, booleans and other objects are static without saying so.

    function: returns a dict name -> 0-dim tensor, `Labelled` (such as `run.records[...]`) or tensor. A dict of tensors
        (parameters) becomes one vector with dimension `parameter`.
    chunk_size: points evaluated at once; by default as many as fit the memory budget (`memory` in bytes).
    Returns a Dataset whose dimensions are the axes, in the order given, then those of each value. `diverged` and
    `diverged_at` (steps, -1 if never) say which runs blew up; a function that calls no `wb.run` has diverged where a value
    is not finite. Results do not depend on `chunk_size`.
    Raises ValueError when an axis is empty, repeated or not an argument of `function`.

    >>> import workbench as wb
    >>> result = wb.sweep(lambda x, y: {"product": x * y}, x=[1.0, 2.0], y=[10.0, 20.0, 30.0])
    >>> result.product.sel(x=2.0, y=30.0).item()
    60.0
    """
    grid = {name: _axis(name, values) for name, values in axes.items()}
    _refuse_bad_call(function, grid, static, chunk_size)
    fixed = [name for name, values in grid.items() if name in static or not _numeric(values)]
    moving = [name for name in grid if name not in fixed]
    points = _points({name: grid[name] for name in moving})
    shape = tuple(len(grid[name]) for name in moving)
    total = math.prod(len(grid[name]) for name in fixed)
    bar = tqdm(total=total, delay=2, leave=False, disable=not progress or total == 1, desc="static points")
    parts: list[xr.Dataset] = []
    for choice in itertools.product(*(grid[name] for name in fixed)):
        chosen = dict(zip(fixed, choice, strict=True))
        values = _evaluate(function, chosen, points, math.prod(shape), chunk_size, memory, progress)
        parts.append(_dataset(values, {name: grid[name] for name in moving}, shape))
        bar.update()
    bar.close()
    return _assemble(parts, {name: grid[name] for name in fixed}, list(grid))


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ValueError(f"axis {name} must be a list of values, got {values!r}; write {name}=[{values!r}]")
    listed = values.tolist() if isinstance(values, (np.ndarray, Tensor, xr.DataArray)) else list(values)
    if not listed:
        raise ValueError(f"axis {name} is empty; give at least one value")
    if any(isinstance(value, (list, tuple)) for value in listed):
        raise ValueError(f"axis {name} must be one-dimensional")
    if any(listed[i] == listed[j] for i in range(len(listed)) for j in range(i)) if len(listed) < 2000 else False:
        raise ValueError(f"axis {name} has repeated values; each point is evaluated once")
    return listed


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)


def _refuse_bad_call(function: Callable, grid: Axes, static: Sequence[str], chunk_size: int | None) -> None:
    if not grid:
        raise ValueError("sweep needs at least one axis, e.g. seed=range(20)")
    parameters = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        unknown = [name for name in grid if name not in parameters]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: not an argument of the function, whose are {', '.join(parameters)}"
            )
        missing = [
            n for n, p in parameters.items() if p.default is p.empty and n not in grid and p.kind != p.VAR_POSITIONAL
        ]
        if missing:
            raise ValueError(f"the function also needs {', '.join(missing)}: give a value or an axis for each")
    absent = [name for name in static if name not in grid]
    if absent:
        raise ValueError(f"static names {', '.join(absent)}, which is no axis of this sweep")
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"chunk_size must be an int >= 1 or None, got {chunk_size!r}")


def _points(grid: Axes) -> dict[str, Tensor]:
    """Every point of the grid, flattened: one tensor per axis."""
    meshes = np.meshgrid(*grid.values(), indexing="ij")
    return {
        name: torch.tensor(mesh.reshape(-1), dtype=_dtype(grid[name])) for name, mesh in zip(grid, meshes, strict=True)
    }


def _dtype(values: Sequence[Any]) -> torch.dtype:
    return torch.int64 if all(isinstance(value, (int, np.integer)) for value in values) else torch.float64


class _Labels:
    """Remembers dims, coords and units while only tensors pass through vmap."""

    def __init__(self) -> None:
        self.of: dict[str, Labelled] = {}

    def strip(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        stripped = {}
        for name, value in values.items():
            if isinstance(value, Mapping):
                value = Labelled(ravel(dict(value)), ("parameter",))
            elif not isinstance(value, (Tensor, Labelled)):
                value = torch.as_tensor(value)
            labelled = label(value, name)
            self.of[name] = labelled
            stripped[name] = labelled.value
        return stripped


def _evaluate(
    function: Callable[..., Mapping[str, Any]],
    chosen: Mapping[str, Any],
    points: dict[str, Tensor],
    n_points: int,
    chunk_size: int | None,
    memory: float | None,
    progress: bool,
) -> dict[str, Labelled]:
    """All points, chunk by chunk; a chunk that does not fit is started again, smaller."""
    labels = _Labels()

    def one(point: dict[str, Tensor]) -> dict[str, Tensor]:
        found: list[Tensor] = []
        token = _divergences.set(found)
        try:
            values = function(**chosen, **point)
        finally:
            _divergences.reset(token)
        if not isinstance(values, Mapping):
            raise ValueError(f"the swept function must return a dict name -> tensor, got {type(values).__name__}")
        stripped = labels.strip(values)
        return {**stripped, **{name: v for name, v in _divergence(found, stripped).items() if name not in stripped}}

    if not points:
        return {name: labels.of.get(name, label(v, name)).with_value(v) for name, v in one({}).items()}
    size, done, pieces = min(chunk_size or n_points, n_points), 0, []
    bar = tqdm(total=n_points, delay=2, leave=False, disable=not progress or size == n_points, desc="runs")
    while done < n_points:
        size = min(size, n_points - done)
        chunk = {name: column[done : done + size] for name, column in points.items()}
        try:
            with memory_budget.sharing(size, memory):
                pieces.append(torch.func.vmap(one)(chunk))
        except memory_budget.ChunkTooLarge as too_large:
            size = min(too_large.runs, size - 1)
            continue
        done += size
        bar.update(size)
    bar.close()
    joined = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    return {name: _with_axis(labels.of.get(name), value) for name, value in joined.items()}


def _with_axis(labelled: Labelled | None, value: Tensor) -> Labelled:
    if labelled is None:
        return Labelled(value, ("point",))
    return Labelled(value, ("point", *labelled.dims), labelled.coords, labelled.unit, labelled.long_name)


def _divergence(found: list[Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if found:
        times = torch.stack([at.reshape(()) for at in found])
        never = torch.iinfo(torch.int64).max
        first = torch.where(times < 0, never, times).amin()
        return {"diverged": (times >= 0).any(), "diverged_at": torch.where(first == never, -1, first)}
    numbers = [~torch.isfinite(value).all() for value in values.values() if value.is_floating_point()]
    return {"diverged": torch.stack(numbers).any()} if numbers else {}


def _dataset(values: Mapping[str, Labelled], grid: Axes, shape: tuple[int, ...]) -> xr.Dataset:
    variables = {}
    for name, labelled in values.items():
        inner_dims = labelled.dims[1:] if grid else labelled.dims
        inner_shape = labelled.value.shape[1:] if grid else labelled.value.shape
        array = labelled.value.detach().cpu().numpy().reshape((*shape, *inner_shape))
        coords = {**grid, **labelled.coords}
        variables[name] = data_array(array, (*grid, *inner_dims), coords, labelled.unit, labelled.long_name)
    dataset = xr.Dataset(variables)
    if "diverged" in dataset:
        dataset["diverged"].attrs["long_name"] = "run diverged"
    if "diverged_at" in dataset:
        dataset["diverged_at"].attrs |= {"long_name": "step at which the divergence was seen", "units": "steps"}
    return dataset


def _assemble(parts: list[xr.Dataset], fixed: Axes, order: list[str]) -> xr.Dataset:
    """Put the static axes' parts side by side; records at different steps are aligned with NaN."""
    for name, values in reversed(list(fixed.items())):
        size = len(values)
        coordinate = xr.DataArray([_text(v) for v in values], dims=name, name=name)
        parts = [
            xr.concat(parts[i : i + size], dim=coordinate, join="outer", combine_attrs="override", coords="minimal")
            for i in range(0, len(parts), size)
        ]
    dataset = parts[0]
    leading = [name for name in order if name in dataset.dims]
    return dataset.transpose(*leading, ...)


def _text(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, np.generic)) else str(value)
