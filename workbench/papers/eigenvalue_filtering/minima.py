"""The small losses: where optimizers end on the scalar factorisation, and when a sharp minimum disappears."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import by_name, filter_ratio, gradient_descent, max_sharpness, sam
from workbench.papers.eigenvalue_filtering.limits import audited, is_limit, window
from workbench.papers.eigenvalue_filtering.optimizers import ALL, running
from workbench.problems import ScalarFactorisation, TwoBasins, quadratic

RHO, BETA = 0.1, 0.5
STEP_SIZES = (0.1, 0.2, 0.4)
SEVEN = ("gd", "gd+heavy_ball", "gd+nesterov", "usam", "two_step_usam", "nested_usam", "hessian_usam")


def factorisation_limits(n: int, *, seed0: int, steps: int, tol: float, run_as: str = "itself") -> xr.Dataset:
    """All eighteen optimizers on f(u, v) = 1/2 (u v - 1)^2 from n starts uniform on [-3, 3]^2.

    Returns:
        (optimizer, step_size, start): ratio = alpha p(lambda_max)/c at the limit, NaN for runs without one; diverged; and, of
        the audit, suspects and readable (`limits.audited`).
    """
    problem = ScalarFactorisation()

    def end(optimizer: str, step_size: Tensor, start: Tensor) -> dict[str, object]:
        rule = running(optimizer, step_size, rho=RHO, beta=BETA, run_as=run_as)
        done = run(
            problem, rule, seed=start, steps=steps, record=["gradient_norm"], at=window(steps), progress=False
        )  # fmt: skip
        predicted = by_name(optimizer, step_size, rho=RHO, beta=BETA)
        ratio = filter_ratio(predicted, problem.sharpness(done.parameters))
        return {
            "ratio": torch.where(is_limit(problem, rule, done, tol), ratio, torch.nan),
            "place": Labelled(done.parameters, ("parameter",)),
        }

    found = sweep(end, optimizer=ALL, step_size=STEP_SIZES, start=range(seed0, seed0 + n), progress=False)

    def rule_at(here):
        return running(here["optimizer"], here["step_size"], rho=RHO, beta=BETA, run_as=run_as)

    after = audited(problem, found.ratio, found.place, rule_at, lambda vector: vector, steps=steps, tol=tol)
    return after.assign(diverged=found.diverged)


def cells_attained(ratio: xr.DataArray, sets: int = 10, share: float = 0.97) -> np.ndarray:
    """Of each of `sets` sets of starts: in how many cells (optimizer, step size) some limit reaches `share` of the edge."""
    size = ratio.sizes["start"] // sets
    parts = [ratio.isel(start=slice(k * size, (k + 1) * size)).max("start") for k in range(sets)]
    return np.array([int((part >= share).sum()) for part in parts])


def minimum(sharpness: Tensor | float) -> Tensor:
    """The point (u, v), u >= v > 0, with u v = 1 and u^2 + v^2 = sharpness >= 2."""
    total = torch.as_tensor(sharpness, dtype=torch.float64)
    return torch.stack([(total + 2).sqrt() + (total - 2).sqrt(), (total + 2).sqrt() - (total - 2).sqrt()]) / 2


def released(
    kicks: int, *, seed0: int, steps: int, tol: float, run_as: str = "itself", mirrored: bool = False
) -> xr.Dataset:
    """Runs released beside the minimum whose ratio is .98 or 1.02, in every cell whose edge lies above the smallest sharpness 2.

    Returns:
        (optimizer, step_size, side, kick), side = .98, 1.02: `end`, the ratio at the limit (NaN without one), and `moved`,
        its distance from the ratio at the start. Cells without such a minimum are NaN in `start`, the ratio at the start.
        With `mirrored` the two sides are exchanged.
    """
    problem, sides = ScalarFactorisation(), (0.98, 1.02)
    steps_of, sides_of = (torch.tensor(axis, dtype=torch.float64) for axis in (STEP_SIZES, sides))
    parts = []
    for name in ALL:
        # alpha p(lambda)/c = r where the edge of the filter with step size alpha/r lies.
        there = [[max_sharpness(by_name(name, a / r, rho=RHO, beta=BETA)) for r in sides] for a in STEP_SIZES]
        sharp = torch.tensor(there, dtype=torch.float64)
        sharp = sharp.flip(1) if mirrored else sharp
        starts = minimum(sharp.clamp_min(2.0))

        def end(step_size: Tensor, side: Tensor, kick: Tensor, name=name, starts=starts) -> dict[str, Tensor]:
            rule = running(name, step_size, rho=RHO, beta=BETA, run_as=run_as)
            predicted = by_name(name, step_size, rho=RHO, beta=BETA)
            here = ((steps_of == step_size)[:, None] & (sides_of == side)).double()
            begin = (starts * here).sum((1, 2))
            start = begin + 1e-4 * draws.normal(kick, (2,), stream="kick")
            done = run(
                problem, rule, start=start, steps=steps, record=["gradient_norm"], at=window(steps), progress=False
            )
            first, last = (filter_ratio(predicted, problem.sharpness(x)) for x in (begin, done.parameters))
            return {"start": first, "end": torch.where(is_limit(problem, rule, done, tol), last, torch.nan)}

        one = sweep(end, step_size=STEP_SIZES, side=sides, kick=range(seed0, seed0 + kicks), progress=False)
        inside = xr.DataArray((sharp.amin(1) > 2).numpy(), dims="step_size", coords={"step_size": list(STEP_SIZES)})
        parts.append(one[["start", "end"]].where(inside).expand_dims(optimizer=[name]))
    found = xr.concat(parts, "optimizer")
    return found.assign(moved=abs(found.end - found.start))


def critical_step_sizes(curvature: float = 3.0) -> dict[str, float]:
    """alpha_c = c/p(curvature) of seven optimizers: above it a minimum of that curvature is no limit."""
    return {name: 1 / filter_ratio(by_name(name, 1.0, rho=RHO, beta=BETA), curvature) for name in SEVEN}


def basins(relative: Sequence[float], n: int, *, seed0: int, steps: int, run_as: str = "itself") -> xr.DataArray:
    """Whether a uniform start on [-2.5, 1.5] ends within 1e-6 of the sharp minimum -2 of the two-basin quartic.

    Args:
        relative: step sizes in units of the critical one of each optimizer.

    Returns:
        (optimizer, relative, start).
    """
    problem, critical = TwoBasins(), critical_step_sizes()

    def settle(optimizer: str, relative: Tensor, start: Tensor) -> dict[str, Tensor]:
        rule = running(optimizer, relative * critical[optimizer], rho=RHO, beta=BETA, run_as=run_as)
        done = run(problem, rule, seed=start, steps=steps, progress=False)
        return {"sharp": (done.parameters + 2).abs() < 1e-6}

    grid = {"optimizer": SEVEN, "relative": list(relative), "start": range(seed0, seed0 + n)}
    return sweep(settle, **grid, progress=False).sharp


def mirror(excesses: Sequence[float], kicks: int, *, seed0: int, steps: int, step_size: float = 0.2) -> xr.DataArray:
    """Gradient descent released beside the minimum with ratio 1 + excess, kicked by 1e-6: the ratio where it settles.

    Returns:
        (excess, kick).
    """
    problem = ScalarFactorisation()

    def settle(excess: Tensor, kick: Tensor) -> dict[str, Tensor]:
        start = minimum(2 * (1 + excess) / step_size) + 1e-6 * draws.normal(kick, (2,), stream="kick")
        done = run(problem, gradient_descent(step_size), start=start, steps=steps, progress=False)
        return {"after": step_size * problem.sharpness(done.parameters) / 2}

    return sweep(settle, excess=list(excesses), kick=range(seed0, seed0 + kicks), progress=False).after


def exceptional_starts(step_size: float) -> list[tuple[float, float]]:
    """The two starts that gradient descent maps exactly onto the unstable sharp minimum, with their distance after one step."""
    problem, found = TwoBasins(), []
    for preimage in problem.preimages(step_size):
        start = torch.tensor(preimage, dtype=torch.float64)
        end = run(problem, gradient_descent(step_size), start=start, steps=1, progress=False)
        found.append((preimage, abs(end.parameters.item() + 2)))
    return found


def two_cycle(step_size: float = 0.1, rho: float = 0.2, curvature: float = 1.7) -> tuple[float, float]:
    """|x| at which normalised SAM ends on 1/2 lambda x^2, and the 2-cycle's alpha lambda rho/(2 - alpha lambda)."""
    start = torch.ones(1, dtype=torch.float64)
    end = run(quadratic([curvature]), sam(step_size, rho), start=start, steps=1000, progress=False)
    return abs(end.parameters.item()), step_size * curvature * rho / (2 - step_size * curvature)
