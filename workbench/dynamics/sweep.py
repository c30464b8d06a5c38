"""Evaluating a function of named scalars over a whole grid at once."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import memory as memory_budget
from workbench.checks import require_count, require_positive
from workbench.draws.watched import HostNumbers
from workbench.dynamics.joining import dataset, joined
from workbench.dynamics.labelled import Labelled, label
from workbench.dynamics.progress import bar
from workbench.dynamics.run import _divergences
from workbench.dynamics.swept import Swept, in_words
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

    The function is written for one run and called once per static point and chunk: `torch.func.vmap` evaluates all points at
    once, each numeric axis arriving as a 0-dim tensor that counts as the number (int64 or float64). Axes that shape the
    computation (a number of steps, an optimizer's name) are named in `static` and arrive as they are; text, booleans and other
    objects are static without saying so. Random numbers come from `wb.draws` and the run's seed; those of NumPy's, Python's and
    torch's global generators are refused.

    function: returns a dict name -> 0-dim tensor, `Labelled` (such as `run.records[...]`) or tensor. A dict of tensors
        (parameters) becomes one vector with dimension `parameter`.
    chunk_size: points evaluated at once; by default as many as fit the memory budget (`memory` in bytes).
    Returns a Dataset whose dimensions are the axes, in the order given, then those of each value. `diverged` and
    `diverged_at` (steps, -1 if never) say which runs blew up; a function that calls no `wb.run` has diverged where a value
    is not finite. Results do not depend on `chunk_size`.
    Raises ValueError when an axis is empty, repeated or not an argument of `function`, and what the function raises: with a note
    that names the static point, after the other points, whose results are the error's `partial` (a Dataset).

    >>> import workbench as wb
    >>> result = wb.sweep(lambda x, y: {"product": x * y}, x=[1.0, 2.0], y=[10.0, 20.0, 30.0])
    >>> result.product.sel(x=2.0, y=30.0).item()
    60.0
    """
    grid = {name: _axis(name, values) for name, values in axes.items()}
    _refuse_bad_call(function, grid, static, chunk_size, memory)
    fixed = [name for name, values in grid.items() if name in static or not _numeric(values)]
    moving = [name for name in grid if name not in fixed]
    total = _count({name: grid[name] for name in fixed})
    shown = bar(total, "static points", progress and total > 1)
    parts: list[xr.Dataset | None] = []
    failed: list[Exception] = []
    static_axes, moving_axes = ({name: grid[name] for name in names} for names in (fixed, moving))
    for choice in itertools.product(*static_axes.values()):
        chosen = dict(zip(fixed, choice, strict=True))
        try:
            values = _evaluate(
                functools.partial(function, **chosen), moving_axes, chunk_size, memory, progress, list(grid)
            )
            parts.append(dataset(values, moving_axes))
        except Exception as error:
            if fixed:
                error.add_note(f"sweep: at {', '.join(f'{name}={value!r}' for name, value in chosen.items())}")
            if not any(part is not None for part in parts):
                raise
            parts.append(None)
            failed.append(error)
        if len(parts) == 2 and fixed and not failed:
            _refuse_misfits(parts, static_axes)
        shown.update()
    shown.close()
    if failed:
        failed[0].partial = joined(parts, static_axes, list(grid))  # type: ignore[attr-defined]
        failed[0].add_note(
            f"sweep: {len(failed)} of {len(parts)} static points failed; the others are in the error's `partial`"
        )
        raise failed[0]
    return joined(parts, static_axes, list(grid))


def _refuse_misfits(parts: list[xr.Dataset | None], fixed: Axes) -> None:
    """The first two points side by side: what will not fit is refused before the others are computed."""
    number = len(fixed) - 1
    last = next((i for i in range(number, -1, -1) if len(list(fixed.values())[i]) > 1), None)
    if last is not None:
        name = list(fixed)[last]
        joined(parts, {name: list(fixed[name])[:2]}, [name])


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ValueError(f"axis {name} must be a list of values, got {values!r}; write {name}=[{values!r}]")
    listed = values.tolist() if isinstance(values, (np.ndarray, Tensor, xr.DataArray)) else list(values)
    if not listed:
        raise ValueError(f"axis {name} is empty; give at least one value")
    if any(isinstance(value, (list, tuple)) for value in listed):
        raise ValueError(f"axis {name} must be one-dimensional")
    if _repeated(listed):
        raise ValueError(f"axis {name} has repeated values; each point is evaluated once")
    return listed


def _repeated(listed: list[Any]) -> bool:
    if sum(value != value for value in listed if isinstance(value, float)) > 1:  # NaN, which equals nothing
        return True
    try:
        return len(set(listed)) < len(listed)
    except TypeError:
        return any(listed[i] == listed[j] for i in range(len(listed)) for j in range(i))


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)


def _refuse_bad_call(
    function: Callable, grid: Axes, static: Sequence[str], chunk_size: int | None, memory: float | None
) -> None:
    if not grid:
        raise ValueError("sweep needs at least one axis, e.g. seed=range(20)")
    # dataset.sel(method=...) would be taken for xarray's own argument, without a word.
    reserved = [name for name in grid if name in ("method", "tolerance", "drop", "indexers")]
    if reserved:
        raise ValueError(f"an axis cannot be called {reserved[0]}: xarray's .sel uses that name; choose another")
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
    for name, values in grid.items():
        for value in values:
            if isinstance(value, (int, np.integer)) and not -(2**63) <= int(value) < 2**63:
                raise ValueError(
                    f"{name} must be in -2^63..2^63 - 1 where it is an int, got {value}; use {name} % 2**63"
                )
    absent = [name for name in static if name not in grid]
    if absent:
        raise ValueError(f"static names {', '.join(absent)}, which is no axis of this sweep")
    if chunk_size is not None:
        require_count("chunk_size", chunk_size)
    if memory is not None:
        require_positive("memory (in bytes)", memory)


def _dtype(values: Sequence[Any]) -> torch.dtype:
    return torch.int64 if all(isinstance(value, (int, np.integer)) for value in values) else torch.float64


def _points(grid: Axes) -> dict[str, Tensor]:
    """Every point of the grid, flattened: one tensor per axis."""
    meshes = np.meshgrid(*grid.values(), indexing="ij")
    return {
        name: torch.tensor(mesh.reshape(-1), dtype=_dtype(grid[name])) for name, mesh in zip(grid, meshes, strict=True)
    }


class _Labels:
    """Remembers dims, coords and units while only tensors pass through vmap."""

    def __init__(self, axes: Sequence[str]) -> None:
        self.of: dict[str, Labelled] = {}
        self._axes = axes

    def strip(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        stripped = {}
        for name, value in values.items():
            if isinstance(value, Mapping):
                odd = [key for key, leaf in value.items() if not isinstance(leaf, Tensor)]
                if odd:
                    raise ValueError(
                        f"{name} is a dict in which {odd[0]!r} is not a tensor: parameters are; return records side by side, as "
                        "{**run.records, ...}"
                    )
                value = Labelled(ravel(dict(value)), ("parameter",))
            elif not isinstance(value, (Tensor, Labelled)):
                value = _number(name, value)
            labelled = label(value, name)
            labelled = labelled.with_value(labelled.value.as_subclass(Tensor))
            taken = [dim for dim in labelled.dims if dim in self._axes]
            if taken:
                raise ValueError(
                    f"{name} has the dimension {taken[0]!r}, which is an axis of the sweep; rename the axis"
                )
            self.of[name] = labelled
            stripped[name] = labelled.value
        return stripped


def _number(name: str, value: Any) -> Tensor:
    """A Python number as a tensor that keeps all its digits."""
    try:
        return torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the swept function must return numbers and tensors, got {name} = {value!r}") from error


def _evaluate(
    function: Callable[..., Mapping[str, Any]],
    grid: Axes,
    chunk_size: int | None,
    memory: float | None,
    progress: bool,
    axes: Sequence[str],
) -> dict[str, Labelled]:
    """All points of a numeric grid, chunk by chunk. Values get the dimensions of the grid in front, seed first."""
    labels = _Labels(axes)

    def one(**point: Tensor) -> dict[str, Tensor]:
        found: list[Tensor] = []
        token = _divergences.set(found)
        try:
            values = function(**point)
        finally:
            _divergences.reset(token)
        if not isinstance(values, Mapping):
            raise ValueError(f"the swept function must return a dict name -> tensor, got {type(values).__name__}")
        clash = [name for name in values if name in point]
        if clash:
            raise ValueError(f"the swept function returns {', '.join(clash)}, the name of an axis; choose another name")
        stripped = labels.strip(values)
        return {**stripped, **{name: v for name, v in _divergence(found, stripped).items() if name not in stripped}}

    if not grid:
        return {name: labels.of.get(name, label(v, name)).with_value(v) for name, v in one().items()}
    outer, inner = _split(grid)
    watch = HostNumbers(function)
    limit = memory if memory is not None else memory_budget.budget()
    size = chunk_size or _count(outer) * _count(inner)
    while True:
        try:
            joined = _chunks(one, watch, _points(outer), _points(inner), size, limit, progress)
            break
        except memory_budget.ChunkTooLarge as too_large:
            size = min(too_large.runs, size - 1)
    dims, shape = (*outer, *inner), tuple(len(values) for values in (*outer.values(), *inner.values()))
    named = {}
    for name, value in joined.items():
        known = labels.of.get(name) or Labelled(value[0, 0], tuple(f"{name}_{i}" for i in range(value.dim() - 2)))
        shaped = value.reshape(*shape, *value.shape[2:])
        named[name] = Labelled(shaped, (*dims, *known.dims), known.coords, known.unit, known.long_name)
    return named


def _split(grid: Axes) -> tuple[Axes, Axes]:
    """Seeds outside, the rest inside: what depends on the seed alone (data, minibatches) is then made once per seed, and
    shared by the inner vmap as matrices instead of copies.
    """
    if len(grid) > 1 and "seed" in grid:
        return {"seed": grid["seed"]}, {name: values for name, values in grid.items() if name != "seed"}
    return {}, grid


def _count(grid: Axes) -> int:
    return math.prod(len(values) for values in grid.values())


def _chunks(
    one: Callable[..., dict[str, Tensor]],
    watch: HostNumbers,
    outer: dict[str, Tensor],
    inner: dict[str, Tensor],
    size: int,
    limit: float,
    progress: bool,
) -> dict[str, Tensor]:
    """Evaluate [outer, inner] points, at most `size` at once. Values have the leading dimensions outer, inner."""
    n_outer = len(next(iter(outer.values()))) if outer else 1
    n_inner = len(next(iter(inner.values())))
    columns = min(n_inner, size)
    rows = max(1, min(n_outer, size // n_inner))
    shown = bar(n_outer * n_inner, "runs", progress and size < n_outer * n_inner)
    stripes = []
    for i in range(0, n_outer, rows):
        row = {name: values[i : i + rows] for name, values in outer.items()}
        pieces = []
        for j in range(0, n_inner, columns):
            column = {name: values[j : j + columns] for name, values in inner.items()}
            with memory_budget.sharing(rows * columns, limit):
                pieces.append(_vmapped(one, watch, row, column))
            shown.update(rows * columns)
        stripes.append({name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]})
    shown.close()
    return {name: torch.cat([stripe[name] for stripe in stripes]) for name in stripes[0]}


def _vmapped(
    one: Callable[..., dict[str, Tensor]], watch: HostNumbers, row: dict[str, Tensor], column: dict[str, Tensor]
) -> dict[str, Tensor]:
    def over_columns(row_point: dict[str, Tensor]) -> dict[str, Tensor]:
        return torch.func.vmap(lambda column_point: one(**_swept(row_point), **_swept(column_point)))(column)

    def all_runs() -> dict[str, Tensor]:
        if row:
            return torch.func.vmap(over_columns)(row)
        return {name: value[None] for name, value in over_columns({}).items()}

    with in_words([*row, *column]):
        return watch.refused(all_runs)


def _swept(point: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: Swept.of(value, name) for name, value in point.items()}


def _divergence(found: list[Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if found:
        times = torch.stack([at.reshape(()) for at in found])
        never = torch.iinfo(torch.int64).max
        first = torch.where(times < 0, never, times).amin()
        return {"diverged": (times >= 0).any(), "diverged_at": torch.where(first == never, -1, first)}
    numbers = [~torch.isfinite(value).all() for value in values.values() if value.is_floating_point()]
    return {"diverged": torch.stack(numbers).any() if numbers else torch.tensor(False)}
