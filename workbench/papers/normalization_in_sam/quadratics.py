"""Quadratics and other losses of known curvature: where USAM diverges, where SAM ends, and what bounds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws, problems
from workbench.dynamics.growth import growth_rate
from workbench.dynamics.iterates import iterates
from workbench.dynamics.run import run
from workbench.dynamics.sweep import sweep
from workbench.dynamics.update_map import update_map
from workbench.optimizers import curvature_polynomial, guarantees
from workbench.papers.normalization_in_sam.rules import rule
from workbench.problems.base import Problem
from workbench.problems.landscapes.quadratic import Quadratic

FAR = 1e6
"""Length at which growth is measured: USAM is linear, so any will do, and SAM, which is not, shows that it is no USAM."""
_CONVERGED = 1e-6
"""Distance still to go, relative, below which a run counts as converged."""


def random_quadratic(seed: Any, d: int, condition: Any, gap: float) -> Quadratic:
    """Spectrum with ends 1/condition and 1 and uniform draws between, below 1 - gap; the eigenvectors are random."""
    low = torch.ones((), dtype=torch.float64) / condition
    high = torch.clamp(torch.as_tensor(1.0 - gap, dtype=torch.float64), min=low)
    inner = low + (high - low) * draws.uniform(seed, (max(d - 2, 0),), stream="spectrum")
    ends = torch.stack([torch.ones_like(low), low])[: min(d, 2)]
    return problems.quadratic(torch.cat([ends, inner]), rotation=seed)


def plane(p: Any) -> dict[str, np.ndarray]:
    """The grid of (u, v)."""
    return {"u": np.linspace(0.05, 1.95, p.grid_u), "v": np.linspace(0.0, 4.0, p.grid_v)}


def seeds(p: Any, count: int) -> range:
    """The seeds of an experiment."""
    return range(p.seed0, p.seed0 + count)


def growth(p: Any) -> xr.Dataset:
    """Growth per step of the arm USAM, the log of USAM's largest |1 - u l(1 + v l)|, and the computed error of the rate.

    After k steps the length lies between |c| f^k and |start| f^k, f that factor and c the start's part along its
    eigenvector; a rate over half of `quad_steps` is therefore off by log(|start|/|c|) over that many steps at most.
    """

    def one(seed, u, v):
        problem = random_quadratic(seed, p.quad_dim, p.quad_condition, p.quad_gap)
        start = problem.initial(seed)
        factors = (1 - u * curvature_polynomial(rule("USAM", u, v))(problem.spectrum)).abs()
        parts = (problem.eigenvectors.mT @ start).abs()
        leading = torch.where(factors == factors.amax(), parts, 0.0).amax()
        rate = growth_rate(problem, rule("USAM", u, v, p.arms), problem.minimiser, start, steps=p.quad_steps, size=FAR)
        error = torch.log(torch.linalg.vector_norm(start) / leading) / (p.quad_steps // 2)
        return {"rate": rate, "predicted": factors.amax().log(), "error": error}

    # pyrefly: ignore[bad-argument-type]
    return sweep(one, seed=seeds(p, p.seeds), **plane(p))


def ridge_growth(p: Any, ridge: Problem) -> xr.Dataset:
    """Growth of the arm USAM around the minimiser of ridge regression, u and v in units of its smoothness."""

    def one(u, v):
        # pyrefly: ignore[missing-attribute]
        made = rule("USAM", u / ridge.smoothness, v / ridge.smoothness, p.arms)
        start = ridge.initial(p.seed0)
        # pyrefly: ignore[missing-attribute]
        return {"rate": growth_rate(ridge, made, ridge.minimiser, start, steps=600, size=FAR)}

    return sweep(one, u=np.linspace(0.1, 1.9, 8), v=np.linspace(0.0, 3.0, 4))


def wrong_sign(result: xr.Dataset) -> int:
    """Cells, away from the threshold itself, that grow although u(1 + v) < 2, or the other way round."""
    excess = result.u * (1 + result.v) - 2
    return int((((result.rate > 0) != (excess > 0)) & (abs(excess) > 1e-3)).sum())


def ends(p: Any) -> xr.Dataset:
    """Where the arm SAM ends: its loss over the 2-cycle's minus 1, in units of the computed error, and the loss itself.

    The error is four times the distance still to go (two for the square, two for the estimate) and rounding. That distance
    is d/(1 - q), d the movement over two steps relative to the point and q its contraction over the next eighty steps;
    q >= 1 is a run that leaves. Runs with more than 1e-6 to go run four times as long; those that still have are NaN.
    """
    # pyrefly: ignore[bad-argument-type]
    found = sweep(_end(p, p.quad_steps), seed=seeds(p, p.seeds), **plane(p))
    open_ = (~found.converged & ~found.diverged & (found.v > 0)).values
    if open_.any():
        places = np.argwhere(open_)
        chosen = [found[name].values[column] for name, column in zip(("seed", "u", "v"), places.T, strict=True)]
        table = [torch.as_tensor(values) for values in chosen]
        longer = _end(p, 4 * p.quad_steps)
        again = sweep(lambda place: longer(*(values[place] for values in table)), place=range(len(places)))
        for name in ("loss", "off", "converged", "diverged"):
            found[name].values[open_] = again[name].values
    found["off"] = found.off.where(found.converged & ~found.diverged)
    return found


def _end(p: Any, steps: int):
    def one(seed, u, v):
        problem = random_quadratic(seed, p.quad_dim, p.quad_condition, p.quad_gap)
        made = rule("SAM", u, v, p.arms)
        last = run(problem, made, seed=seed, steps=steps).parameters
        togo = still_to_go(update_map(problem, made), last)
        loss, cycle = problem.loss(last), 0.5 * guarantees.sam_cycle_radius(u, v, 1.0) ** 2
        return {"loss": loss, "off": (loss / cycle - 1).abs() / (4 * togo + 1e-12), "converged": togo < _CONVERGED}

    return one


def still_to_go(step: Callable, point: Tensor) -> Tensor:
    """Distance from a point to the 2-cycle its run tends to, relative to the point: d/(1 - q), d the movement over two
    steps and q its contraction over the next eighty; infinite where the movement
    grows in between or does not shrink."""
    movements = []
    for _ in range(41):
        after = step(*step(point))[0]
        movements.append((after - point).norm() / point.norm())
        point = after
    first, largest = movements[0], torch.stack(movements).amax()
    contraction = (movements[-1] / first) ** (1 / 40)
    togo = torch.where((contraction < 1) & (largest <= first), first / (1 - contraction), torch.inf)
    return torch.where(largest < 1e-13, largest, togo)


def usam_plane(p: Any) -> xr.Dataset:
    """Loss of the arm USAM after 300 steps on the first quadratic, for the picture."""

    def one(u, v):
        problem = random_quadratic(p.seed0, p.quad_dim, p.quad_condition, p.quad_gap)
        return {"loss": problem.loss(run(problem, rule("USAM", u, v, p.arms), seed=p.seed0, steps=300).parameters)}

    # pyrefly: ignore[bad-argument-type]
    return sweep(one, **plane(p))


def _ratios(
    p: Any, problem: Problem, start: Tensor, u: Any, rho: Any, alpha: Any, beta: Any, minimum: Any
) -> dict[str, Tensor]:
    """Largest and last ratio of the loss to the bounds (a) and (a') over a third of `quad_steps` steps."""
    steps = p.quad_steps // 3
    path = iterates(problem, rule("SAM", u / beta, rho, p.arms), steps + 1, start=start)["w"]
    gap, t = torch.func.vmap(problem.loss)(path) - minimum, torch.arange(steps + 1)
    gap = torch.where(torch.isfinite(gap), gap, torch.inf)
    known = (t, gap[0], u / beta, rho, alpha, beta)
    strong, pl = gap / guarantees.sam_strongly_convex_bound(*known), gap / guarantees.sam_pl_bound(*known)
    return {"strongly_convex": strong.amax(), "pl": pl.amax(), "last": strong[-1], "last_pl": pl[-1]}


def quadratic_bounds(p: Any) -> xr.Dataset:
    """Loss over the bounds (a) and (a') for four seeds in one to five dimensions, condition numbers up to 316."""

    def one(seed, d, u, rho):
        condition = 10 ** draws.uniform(seed, (), high=2.5, stream="condition", counter=d) if d > 1 else 1.0
        problem = random_quadratic(seed, d, condition, 0.0)
        return _ratios(p, problem, problem.initial(seed), u, rho, problem.strong_convexity, 1.0, 0.0)

    return sweep(one, seed=seeds(p, 4), d=range(1, 6), u=p.bound_us, rho=p.bound_rhos, static=["d"])


def logistic_bounds(p: Any, logistic: Problem) -> xr.Dataset:
    """The same for logistic regression from zero."""
    # pyrefly: ignore[missing-attribute]
    lowest, start = logistic.minimum, torch.zeros_like(logistic.inputs[0])

    def one(u, rho):
        # pyrefly: ignore[missing-attribute]
        return _ratios(p, logistic, start, u, rho, logistic.strong_convexity, logistic.smoothness, lowest)

    return sweep(one, u=p.bound_us, rho=p.bound_rhos)


def steady_losses(p: Any) -> xr.DataArray:
    """Loss of the arm SAM on the parabola after its transient, by u, at the first radius of `bound_rhos`."""
    rho, slowest = p.bound_rhos[0], min(1 - abs(1 - u) for u in p.bound_us)

    def one(u):
        parabola = problems.quadratic([1.0])
        start = torch.ones(1, dtype=torch.float64)
        made = rule("SAM", u, rho, p.arms)
        return {"loss": parabola.loss(run(parabola, made, start=start, steps=int(40 / slowest) + 1).parameters)}

    return sweep(one, u=p.bound_us).loss


def stationarity(p: Any) -> xr.DataArray:
    """Mean squared gradient of the arm SAM over its bound on x^2 + 3 sin^2 x, from a hundred starts."""
    problem = problems.RippledParabola()

    def one(start, u, rho, T):
        eta, gap = u / problem.smoothness, problem.loss(start)
        squares = {"squares": lambda x: problem.gradient(x) ** 2}
        ran = run(problem, rule("SAM", eta, rho, p.arms), start=start, steps=T, seed=p.seed0, integrate=squares)
        bound = guarantees.sam_stationarity_bound(T, gap, eta, rho, problem.smoothness)
        return {"ratio": ran.integrals["squares"] / (eta * T * bound)}

    return sweep(
        one,
        static=["T"],
        start=np.linspace(-10, 10, 100),
        u=[0.2, 0.5, 1.0, 1.5, 1.9],
        rho=[0.01, 0.1, 0.5, 1.0],
        T=sorted({10, 100, 1000, p.near_steps // 2}),
    ).ratio


def path_ratios(p: Any) -> xr.DataArray:
    """Length of the arm USAM's path over its bound on least squares, from a random start and from a thousandth of the way."""

    def one(seed, v, part):
        problem = problems.random_least_squares(seed, n=10, d=30)
        beta, goal = problem.smoothness, problem.minimiser
        start = goal + part * (problem.initial(seed) - goal)
        rho = v / beta
        made = rule("USAM", guarantees.usam_path_step_size(rho, beta), rho, p.arms)
        path = iterates(problem, made, p.near_steps // 2 + 1, start=start)["w"]
        length = torch.linalg.vector_norm(path[1:] - path[:-1], dim=-1).sum()
        return {"ratio": length / guarantees.usam_path_bound(problem.loss(start), rho, problem.pl_constant, beta)}

    return sweep(one, seed=seeds(p, p.seeds), v=[0.0, 0.1, 0.3, 0.6, 0.9], part=[1.0, 1e-3]).ratio
