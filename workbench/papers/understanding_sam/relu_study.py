"""Normalised n-SAM on twelve points with a ReLU network: fits, their slope's variation, losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import xarray as xr

from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import random_sam, sam, schedules
from workbench.papers.understanding_sam.relu_regression import relu_regression


def fits(
    seeds: range,
    radii: Sequence[float],
    step_size: float,
    steps: int,
    displacement: Literal["own", "none", "random"] = "own",
) -> xr.Dataset:
    """Fits (seed, rho, x), total variation of the slope and training loss (seed, rho) after `steps`.

    Radius 0 is gradient descent at constant step size; the others decay it linearly to 0, with the displacement they have or
    (none, random) do not have.
    """
    problem = relu_regression()
    grid = torch.linspace(float(problem.inputs[0]), float(problem.inputs[-1]), 301, dtype=torch.float64)

    def one(seed, rho):
        length: Any = torch.where(rho > 0, float(steps), torch.inf)
        decayed = schedules.LinearDecay(step_size, length)
        radius = 0 * rho if displacement == "none" else rho
        rule = (random_sam if displacement == "random" else sam)(decayed, radius)
        end = run(problem, rule, seed=seed, steps=steps, at=[]).parameters
        fit = Labelled(problem.fit(end, grid), ("x",), {"x": grid.numpy()})
        return {"fit": fit, "slope_tv": problem.slope_tv(end), "train_loss": problem.loss(end)}

    return sweep(one, seed=seeds, rho=[0.0, *radii])
