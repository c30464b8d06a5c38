"""The measurements behind the claims on runs: who stays at a minimiser, who leaves and where it lands, as labelled arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.checks import refuse_outside, require_positive
from workbench.dynamics.times import halving_limit
from workbench.papers.deep_matrix_factorization import escape as runs
from workbench.papers.deep_matrix_factorization.minimisers import random_minimiser
from workbench.papers.deep_matrix_factorization.sharpness import exact_sharpness, step_size_ceiling
from workbench.problems.factorised.deep_linear import deep_linear


def escapes(
    depths: Sequence[int],
    c: Sequence[float],
    eps: Sequence[float],
    n: int,
    steps: int,
    *,
    spread: float = 0.2,
    null_scale: float = 0.3,
    every: int = 10,
    seed0: int = 0,
) -> xr.Dataset:
    """Gradient descent from theta* + eps u, u a random unit direction, with step size 2c/lambda_max; |M| = 1, d = 3, width 4.

    Returns:
        start, furthest and final distance to theta*; stability = lambda_max eta/2 at the end; converged, escaped, with dimensions
        (seed, depth, c, eps); path(seed, depth, c, eps, step) the distance at every `every` steps.

    Raises:
        ValueError: for an eps outside [0, 1), or a c that is not above 0.
    """
    for one in eps:
        refuse_outside("eps", one, lower=0.0, upper=1.0, open_upper=True)
    for one in c:
        require_positive("c", one)
    shape = (n, len(depths), len(c), len(eps))
    names = ("start", "furthest", "final", "stability", "converged", "escaped")
    found = {name: np.full(shape, np.nan) for name in names}
    kept = range(0, steps + 1, every)
    path = np.full((*shape, len(kept)), np.nan)
    seeds = range(seed0, seed0 + n)
    for j, depth in enumerate(depths):
        centre, target = _minimisers(seeds, depth, spread, null_scale)
        sharpness = exact_sharpness(centre)[0]
        grid = [(a, b) for a in range(len(c)) for b in range(len(eps))]
        step_size = torch.cat([2 * c[a] / sharpness for a, _ in grid])
        starts = [runs.displaced(centre, eps[b], seeds)[0] for _, b in grid]
        start = [torch.cat(layer) for layer in zip(*starts, strict=True)]
        centres = [layer.repeat(len(grid), 1, 1) for layer in centre]
        done = runs.descend(start, target.repeat(len(grid), 1, 1), step_size, steps, centre=centres)
        values = {
            "start": done.distance[0],
            "furthest": done.distance.nan_to_num(math.inf).amax(0),
            "final": done.distance[-1],
            "stability": done.stability(step_size),
            "converged": done.converged,
            "escaped": done.escaped,
        }
        for place, (a, b) in enumerate(grid):
            cut = slice(place * n, (place + 1) * n)
            for name, value in values.items():
                found[name][:, j, a, b] = value[cut].double().numpy()
            path[:, j, a, b] = done.distance[::every, cut].mT.numpy()
    dims = ("seed", "depth", "c", "eps")
    result = xr.Dataset({name: (dims, values) for name, values in found.items()})
    result["path"] = ((*dims, "step"), path, {"long_name": "distance to the minimiser"})
    result = result.assign_coords(seed=list(seeds), depth=list(depths), c=list(c), eps=list(eps), step=list(kept))
    for name in ("converged", "escaped"):
        result[name] = result[name].astype(bool)
    return result


def growth(
    depths: Sequence[int],
    c: Sequence[float],
    n: int,
    *,
    eps: float = 1e-6,
    direction: str = "top",
    spread: float = 0.2,
    null_scale: float = 0.3,
    seed0: int = 0,
) -> xr.Dataset:
    """Growth of the distance per step along the top eigenvector, from theta* + eps top and from half and a quarter of that.

    `direction="gauge"` is a control: the start lies along the manifold of minimisers, and nothing grows.

    Returns:
        limit (seed, depth, c), the factor extrapolated to eps = 0; computed, its error: the larger of the last two changes on
        halving the distance (`halving_limit`), and the rounding 10 u/(eps min(1, |2c - 1|^(n - 1))) of distances that start at
        eps and are followed for n steps; predicted(c) = |2c - 1|.

    Raises:
        ValueError: for eps outside (0, 1), or a c that is not above 0.
    """
    refuse_outside("eps", eps, lower=0.0, upper=1.0, open_lower=True, open_upper=True)
    for one in c:
        require_positive("c", one)
    sizes = [eps, eps / 2, eps / 4]
    shape = (len(sizes), n, len(depths), len(c))
    rate, rounded = np.zeros(shape), np.zeros(len(c))
    seeds, predicted = range(seed0, seed0 + n), np.abs(2 * np.array(c) - 1)
    for j, depth in enumerate(depths):
        centre, target = _minimisers(seeds, depth, spread, null_scale)
        sharpness, top = exact_sharpness(centre)
        along = runs.gauge_direction(centre) if direction == "gauge" else top
        for i, k in np.ndindex(len(sizes), len(c)):
            first, last = runs.growth_window(predicted[k])
            start, _ = runs.displaced(centre, sizes[i], seeds, along)
            done = runs.descend(start, target, 2 * c[k] / sharpness, last, centre=centre, direction=along)
            rate[i, :, j, k] = runs.growth_rate(done.along, first, last).numpy()
            rounded[k] = 10 * np.finfo(float).eps / (sizes[-1] * min(1.0, predicted[k] ** (last - 1)))
    dims = ("eps", "seed", "depth", "c")
    coords = {"eps": sizes, "seed": list(seeds), "depth": list(depths), "c": list(c)}
    found = halving_limit(xr.DataArray(rate, dims=dims, coords=coords), "eps")
    return xr.Dataset(
        {"limit": found.limit, "computed": found.error + xr.DataArray(rounded, dims="c"), "predicted": ("c", predicted)}
    )


def edge(
    depths: Sequence[int],
    n: int,
    *,
    resolution: float = 1e-4,
    eps: float = 1e-8,
    steps: int = 20,
    direction: str = "top",
    spread: float = 0.2,
    null_scale: float = 0.3,
    seed0: int = 0,
) -> xr.Dataset:
    """The step size, in units of 2/lambda_max, at which a run from theta* + eps top begins to leave, by bisection in [0.8, 1.25].

    A run leaves when it is farther out along its direction after `steps` steps than at the start. `direction="gauge"` is a
    control: along the manifold of minimisers nothing is pushed out or in.

    Returns:
        stays and leaves (seed, depth), at most `resolution` apart: the run stays at the one and leaves at the other.

    Raises:
        ValueError: for a resolution or eps outside (0, 1).
    """
    for name, value in (("resolution", resolution), ("eps", eps)):
        refuse_outside(name, value, lower=0.0, upper=1.0, open_lower=True, open_upper=True)
    seeds = range(seed0, seed0 + n)
    found = np.zeros((2, n, len(depths)))
    for j, depth in enumerate(depths):
        centre, target = _minimisers(seeds, depth, spread, null_scale)
        sharpness, top = exact_sharpness(centre)
        along = runs.gauge_direction(centre) if direction == "gauge" else top
        start, _ = runs.displaced(centre, eps, seeds, along)
        stays, leaves = torch.full_like(sharpness, 0.8), torch.full_like(sharpness, 1.25)
        while float((leaves - stays).max()) > resolution:
            c = (stays + leaves) / 2
            done = runs.descend(start, target, 2 * c / sharpness, steps, centre=centre, direction=along)
            inside = done.along[-1] <= done.along[0]
            stays, leaves = torch.where(inside, c, stays), torch.where(inside, leaves, c)
        found[:, :, j] = torch.stack([stays, leaves]).numpy()
    dims = ("seed", "depth")
    return xr.Dataset(
        {"stays": (dims, found[0]), "leaves": (dims, found[1])}, coords={"seed": list(seeds), "depth": list(depths)}
    )


def ceiling(
    depths: Sequence[int], ratios: Sequence[float], n: int, steps: int, *, width: int = 3, seed0: int = 0
) -> xr.Dataset:
    """converged(seed, depth, ratio): gradient descent from .9 N(0, 1/fan-in) on M = diag(1, .5) at eta = ratio eta_max."""
    target = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    seeds = range(seed0, seed0 + n)
    converged = np.zeros((n, len(depths), len(ratios)), dtype=bool)
    for j, depth in enumerate(depths):
        problem = deep_linear(target, [width] * (depth - 1), scale=0.9)
        starts = [problem.layers(problem.initial(seed)) for seed in seeds]
        start = [torch.stack(layer) for layer in zip(*starts, strict=True)]
        for k, ratio in enumerate(ratios):
            step_size = torch.full((n,), ratio * step_size_ceiling(target, depth), dtype=torch.float64)
            converged[:, j, k] = runs.descend(start, target, step_size, steps).converged.numpy()
    return xr.Dataset(
        {"converged": (("seed", "depth", "ratio"), converged)},
        coords={"seed": list(seeds), "depth": list(depths), "ratio": list(ratios)},
    )


def _minimisers(seeds: Sequence[int], depth: int, spread: float, null_scale: float) -> tuple[list[Tensor], Tensor]:
    points, targets = [], []
    for seed in seeds:
        target = draws.normal(seed, (3, 3), stream="target")
        target = target / torch.linalg.matrix_norm(target, 2)
        points.append(
            random_minimiser(target, [4] * (depth - 1), seed % depth, spread=spread, null_scale=null_scale, seed=seed)
        )
        targets.append(target)
    return [torch.stack(layer) for layer in zip(*points, strict=True)], torch.stack(targets)
