"""Choosing step size and strength: nine configurations for every method, by the validation error on seeds that are not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from workbench.papers.sam_atlas.methods import known
from workbench.papers.sam_atlas.tasks import Task
from workbench.papers.sam_atlas.trial import Method, trained


@dataclass(frozen=True)
class Grid:
    """Step sizes and strengths of a task. Methods without a strength take the nine step sizes `alone`."""

    step_sizes: tuple[float, ...]
    alone: tuple[float, ...]
    radii: tuple[float, ...] = (0.05, 0.15, 0.4)
    decays: tuple[float, ...] = (0.0001, 0.001, 0.01)

    def of(self, method: Method) -> tuple[list[float], list[float]]:
        """The configurations of a method."""
        if not method.has_strength:
            return list(self.alone), [0.0]
        return list(self.step_sizes), list(self.decays if method.name == "sgd_wd" else self.radii)


GRIDS = {
    "noisy": Grid((0.003, 0.006, 0.012), (0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.016)),
    "few": Grid((0.005, 0.01, 0.02), (0.0025, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.04)),
    "rows": Grid((0.03, 0.06, 0.12), (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)),
}


TUNING_SEEDS = range(1000, 1005)
"""None of them is judged."""


class Choice(NamedTuple):
    """The best configuration, its mean validation error (per cent), whether it lies on the edge of its (widened) grid, and the
    smallest step size at which a tuning run broke (inf if none).
    """

    step_size: float
    strength: float
    error: float
    on_edge: bool
    broke: float


def tuned(task: Task, method: str | Method, grid: Grid, seeds: Sequence[int] = TUNING_SEEDS) -> Choice:
    """The configuration with the least mean validation error; a best one on the grid's edge widens the grid once.

    No step size above half of the first one that broke a tuning run is chosen.
    """
    method = known(method)
    step_sizes, strengths = grid.of(method)
    found = _validated(task, method, step_sizes, strengths, seeds)
    wider = [_beyond(values, best) for values, best in zip((step_sizes, strengths), _best(found)[:2], strict=True)]
    if any(wider):
        more = _validated(task, method, wider[0] or step_sizes, wider[1] or strengths, seeds)
        found = found.combine_first(more)
        if all(wider):
            for steps, own in ((wider[0], strengths), (step_sizes, wider[1])):
                found = found.combine_first(_validated(task, method, steps, own, seeds))
    step_size, strength, error = _best(found)
    edges = [
        len(values) > 1 and choice in (values.min(), values.max())
        for values, choice in ((found.step_size.values, step_size), (found.strength.values, strength))
    ]
    return Choice(step_size, strength, error, any(edges), _first_broken(found))


def records(task: Task, best: Mapping[str | Method, Choice]) -> list[dict[str, Any]]:
    """Choices as `contest` takes them."""
    return [
        {"task": task.name, "method": known(m).name, "step_size": c.step_size, "strength": c.strength}
        for m, c in best.items()
    ]


def tuned_row(task: Task, method: str) -> dict[str, Any]:
    """What tuning chooses for a task of the trial, as a line of a table."""
    return {"task": task.name, "method": method, **tuned(task, method, GRIDS[task.name])._asdict()}


def _validated(
    task: Task, method: Method, step_sizes: list[float], strengths: list[float], seeds: Sequence[int]
) -> xr.Dataset:
    return trained(task, method, seeds, step_sizes, strengths, sharp=False)[["validation_error", "broken"]]


def _best(found: xr.Dataset) -> tuple[float, float, float]:
    error = found.validation_error.mean("seed")
    allowed = error.where(error.step_size <= _first_broken(found) / 2 + 1e-15)
    place = allowed.where(allowed.notnull(), np.inf).argmin(...)
    best = allowed.isel(place)  # type: ignore[arg-type]
    return float(best.step_size), float(best.strength), float(best)


def _first_broken(found: xr.Dataset) -> float:
    broken = found.step_size.values[np.asarray((found.broken.fillna(0) > 0).any(["seed", "strength"]))]
    return float(broken.min()) if len(broken) else np.inf


def _beyond(values: list[float], best: float) -> list[float]:
    """One more value where the best one is at an end: in the ratio of the last two."""
    if len(values) < 2 or best not in (values[0], values[-1]):
        return []
    ratio = values[1] / values[0] if best == values[0] else values[-1] / values[-2]
    return [float(f"{best / ratio if best == values[0] else best * ratio:.3g}")]
