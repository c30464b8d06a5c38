"""Runs with sampled gradients: decreasing against constant steps, and importance against uniform sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from workbench.checks import require_count
from workbench.dynamics import run, sweep, times
from workbench.dynamics.sources import Importance, Minibatches, expected_residual, smoothness_probabilities
from workbench.optimizers import unified_sam
from workbench.papers.unified_sam import theory
from workbench.papers.unified_sam.one_step import sharp_smoothness
from workbench.papers.unified_sam.regressions import conditioned_ridge, uneven_ridge

Arm = Literal["uniform", "importance", "sharper"]
FRACTION = 0.5
"""rho over rho* in all runs; the step size is the largest that Theorem 3.2 then allows."""
TAU, LAM = 4, 0.5
"""Samples of a step of `decreasing`; weight of SAM in `steps_to_a_tenth`."""
PLACES = 400
"""Records of a run of `steps_to_a_tenth`, between which the crossing is interpolated."""
LATE = 5
"""Records over which the end of a run is averaged."""


def decreasing(runs: range, lambdas: Sequence[float] = (0.0, 0.5, 1.0), *, constant: bool = False) -> xr.Dataset:
    """f - f* of runs with the steps of Theorem 3.5, and of runs of the same samples with constant ones: dims (lam, seed, step).

    Ridge, n = 20, d = 4, condition number 2, reg 0.3, subsets of 4, the data of the first seed; T = 80/(gamma mu) steps for
    the smallest gamma, 40 times the time at which they begin to fall, and 40 records evenly in the logarithm from T/10 on.
    `constant` gives both arms constant steps.
    """
    problem = conditioned_ridge(runs.start, 20, 4, 2.0, 0.3)
    source = Minibatches(TAU, "tau-nice")
    A, B, C = expected_residual(problem, source)
    mu, L, minimum = float(problem.pl_constant), float(problem.sample_smoothness.max()), float(problem.minimum)
    steps = {lam: theory.theorem_3_2(mu, L, A, B, C, lam, FRACTION) for lam in lambdas}
    T = max(int(80 / (one.gamma_star * mu)) for one in steps.values())
    places = np.unique(np.geomspace(T / 10, T, 40).astype(int))

    def errors(seed, lam, gamma, rho):
        kept: Any = {"error": lambda x: problem.loss(x) - minimum}
        return run(
            problem, unified_sam(gamma, rho, lam), seed=seed, steps=T, source=source, record=kept, at=places
        ).records

    found = []
    for lam, (_, rho, gamma, _) in steps.items():
        radius, step = theory.decreasing_schedule(rho, gamma, mu)
        arms = {"decreasing": (gamma, rho) if constant else (step, radius), "constant": (gamma, rho)}
        found.append(
            xr.Dataset(
                {
                    name: sweep(
                        lambda seed, lam=lam, pair=pair: errors(seed, lam, *pair), seed=runs, progress=False
                    ).error
                    for name, pair in arms.items()
                }
            ).sel(step=places)
        )
    return xr.concat(found, xr.DataArray(list(lambdas), dims="lam", name="lam"))


def late(errors: xr.DataArray) -> xr.DataArray:
    """Mean over the last records, as a number per lam and seed."""
    return errors.isel(step=slice(-LATE, None)).mean("step", skipna=False)


def steps_to_a_tenth(
    data_seeds: range, arm: Arm, *, cap: int = 20_000, row_scale_sigma: float = 0.4, runs: int = 16, other: bool = False,
    n: int = 50, d: int = 4, reg: float = 0.02,
) -> xr.Dataset:  # fmt: skip
    """Steps (seed, run) until f - f* is a tenth of what it was, on ridge with rows of uneven length, lam = 1/2, rho*/2, gamma*.

    arm "uniform": one uniform sample a step; "importance": one with p_i = L_i/sum L_j, re-weighted; "sharper": the same with
    max(L_avg, L) in place of L_max. `unevenness` (seed) = L_max/L_avg; `capped` (seed, run): not there after `cap` steps, which
    count as `cap`. `other`: samples of another stream, for the same arm twice.
    """
    require_count("cap", cap, 100)
    problems = [uneven_ridge(seed, n, d, row_scale_sigma, reg) for seed in data_seeds]
    steps = [_steps(problem, arm) for problem in problems]
    gammas, radii = (torch.tensor([getattr(one, name) for one in steps]) for name in ("gamma_star", "rho"))
    slowest = min(one.gamma_star * float(problem.pl_constant) for one, problem in zip(steps, problems, strict=True))

    def one(seed, draw, length):
        problem, k = uneven_ridge(seed, n, d, row_scale_sigma, reg), seed - data_seeds.start
        source = Minibatches(1, "replacement") if arm == "uniform" else Importance(smoothness_probabilities(problem))
        least, sampled = problem.minimum, 2 * (seed * runs + draw) + int(other)
        kept: Any = {"gap": lambda x: problem.loss(x) - least}
        rule, start = unified_sam(gammas[k], radii[k], LAM), problem.initial(seed)
        every = max(1, length // PLACES)
        return run(
            problem, rule, seed=sampled, start=start, steps=length, source=source, record=kept, every=every
        ).records

    # On quadratics the gap falls at twice the theorem's rate; runs that are not there by then begin anew, alike.
    counted = None
    for length in sorted({min(cap, max(PLACES, round(math.log(10) / (2 * slowest)))), cap}):
        gaps = sweep(one, seed=data_seeds, draw=range(runs), length=[length], static=["length"], progress=False).gap
        gaps = gaps.isel(length=0, drop=True)
        counted = times.first_crossing(gaps, 0.1 * gaps.isel(step=0, drop=True), log=True)
        if np.isfinite(counted).all():
            break
    assert counted is not None
    unevenness = [float(sharp.max() / sharp.mean()) for sharp in (problem.sample_smoothness for problem in problems)]
    there = np.isfinite(counted)
    found = xr.Dataset({"steps": counted.where(there, cap), "capped": ~there, "unevenness": ("seed", unevenness)})
    return found.rename(draw="run")


def speed_up(slow: xr.Dataset, fast: xr.Dataset) -> xr.DataArray:
    """Mean steps of one arm over another's (seed,). A capped slow run counts the cap, a lower bound; a capped fast one is NaN."""
    ratio = slow.steps.mean("run") / fast.steps.mean("run")
    return ratio.where(~fast.capped.any("run"))


def _steps(problem: Any, arm: Arm) -> theory.SafeSteps:
    if arm not in ("uniform", "importance", "sharper"):
        raise ValueError(f"arm must be uniform, importance or sharper, got {arm!r}")
    source = Minibatches(1, "replacement") if arm == "uniform" else Importance(smoothness_probabilities(problem))
    L = sharp_smoothness(problem) if arm == "sharper" else float(problem.sample_smoothness.max())
    return theory.theorem_3_2(float(problem.pl_constant), L, *expected_residual(problem, source), LAM, FRACTION)
