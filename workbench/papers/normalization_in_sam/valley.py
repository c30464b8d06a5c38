"""What the claims measure on l(xy): one step exactly, SAM's drift, USAM's trap, how far the rules move."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench import draws, problems
from workbench.dynamics.run import run
from workbench.dynamics.sweep import sweep
from workbench.dynamics.update_map import update_map
from workbench.optimizers import unified_sam
from workbench.papers.normalization_in_sam.paths import product_path
from workbench.papers.normalization_in_sam.rules import ARMS, RANDOM, rule, running

_KINDS = {"GD": "gd", "USAM": "usam", "SAM": "sam", RANDOM: "random"}
_LAM = {"GD": 0.0, "USAM": 0.0, "SAM": 1.0}


def identities(p: Any) -> xr.DataArray:
    """|D+ - factor D| of one step from 10,000 random points with random step sizes and radii, in units of its rounding."""
    model = problems.ProductLoss(p.xy_loss)

    def one(seed, arm):
        made = running(arm, p.arms)
        numbers = draws.uniform(seed, (4,), stream="case")
        point, eta, rho = 12 * numbers[:2] - 6, 2 * numbers[2], 2 * numbers[3]
        after = update_map(model, unified_sam(eta, 0.0 if made == "GD" else rho, _LAM[made]))(point)[0]
        factor = model.imbalance_factor(point, eta, 0.0 if arm == "GD" else rho, _LAM[arm])
        size = (point**2).sum() + (after**2).sum() + eta**2
        rounding = torch.finfo(torch.float64).eps * size * (1 + eta) ** 2 * (1 + rho) ** 2
        return {"off": (model.imbalance(after) - factor * model.imbalance(point)).abs() / rounding}

    return sweep(one, seed=range(p.seed0, p.seed0 + 10_000), arm=list(ARMS)).off


def drifts(p: Any, arm: str = "SAM") -> xr.Dataset:
    """Rate at which log D falls over the predicted one, and D at the end over C, after 8 predicted decay times.

    `arm` may be "random direction". The rate is fitted where it should hold, rho < y < 0.5/rho, y^2 < C/2 and
    eta y^2 < 0.4; NaN where no step is there.
    """
    axes = {"C": p.xy_C, "eta": p.xy_eta, "rho": p.xy_rho}
    found = [_drift(p, arm, *point) for point in itertools.product(*axes.values())]
    values = np.array(found).reshape(*map(len, axes.values()), 2)
    return xr.Dataset({name: (tuple(axes), values[..., k]) for k, name in enumerate(("rate", "left"))}, axes)


def _drift(p: Any, arm: str, C: float, eta: float, rho: float) -> tuple[float, float]:
    rate = problems.drift_rate(eta, rho)
    start, kind = (0.3, math.sqrt(C + 0.09)), _KINDS[running(arm, p.arms)]
    x, y = product_path(p.xy_loss, start, kind, eta, rho, round(8 / rate), seed=p.seed0).T  # type: ignore[arg-type]
    straight = np.flatnonzero((y**2 < min(0.5 * C, 0.4 / eta)) & (y > rho) & (y < 0.5 / rho) & (y > abs(x)))
    slope = np.polyfit(straight, np.log((y**2 - x**2)[straight]), 1)[0] if len(straight) > 1 else np.nan
    # pyrefly: ignore[bad-return]
    return -slope / rate, (y[-1] ** 2 - x[-1] ** 2) / C


def traps(p: Any) -> xr.Dataset:
    """Where the arm USAM stops from C = 16: y^2, y^2 over min(C, y_*^2), |x| over a millionth of the start, settled or not.

    Settled: the linearised rule that ran, at the y it ended at, shrinks x by 1e-6 over `trap_steps`. SAM has no such y.
    """
    made = running("USAM", p.arms)

    def one(eta, rho):
        problem = problems.ProductLoss(p.xy_loss, imbalance_at_start=16.0)
        last = run(problem, rule("USAM", eta, rho, p.arms), steps=p.trap_steps).parameters
        y2, level = last[1] ** 2, torch.as_tensor(problems.trapped_level(eta, rho)).clamp(max=16.0)
        shrinking = (1 - eta * y2 * (1 + (rho if made == "USAM" else 0.0) * y2)).abs()
        settled = shrinking**p.trap_steps < 1e-6 if made != "SAM" else y2 >= 0
        return {"y2": y2, "ratio": y2 / level, "x": last[0].abs() / (1e-6 * 16.18**0.5), "settled": settled}

    grid = np.geomspace(0.005, 0.125, p.trap_grid), np.geomspace(0.01, 1.0, p.trap_grid)
    return sweep(one, eta=grid[0], rho=grid[1])


def displacements(p: Any) -> xr.Dataset:
    """How far every arm is after `near_steps` steps (step size .05, radius .1) from the near-minima (x0, 2)."""
    model = problems.ProductLoss(p.xy_loss)

    def one(x0, arm):
        start = torch.stack([x0, torch.full_like(x0, 2.0)])
        last = run(model, rule(arm, 0.05, 0.1, p.arms), start=start, steps=p.near_steps).parameters
        return {"moved": (last - start).norm(), "root": model.loss(start).sqrt()}

    return sweep(one, x0=10.0 ** np.arange(-8, -2), arm=list(ARMS))


def last_slopes(found: xr.Dataset) -> dict[str, float]:
    """Local log-log slope of the displacement against sqrt(L_0) between the two starts nearest to the minimum, by arm."""
    logs = np.log(found[["moved", "root"]].isel(x0=[0, 1])).diff("x0").isel(x0=0)
    return {str(arm): float(logs.moved.sel(arm=arm) / logs.root.sel(arm=arm)) for arm in found.arm.values}
