"""Runs around the strict saddle of the scalar factorisation, whose Hessian eigenvalues are -1 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.dynamics import run, sweep
from workbench.optimizers import by_name, curvature_polynomial
from workbench.papers.eigenvalue_filtering.optimizers import KINDS, running
from workbench.parameters import norm
from workbench.problems import ScalarFactorisation

NEAR = ScalarFactorisation(spread=0.5)
PASSING, OTHERS = ("usam", "gradient_penalty"), ("gd", "two_step_usam", "nested_usam", "hessian_usam")
"""The kinds whose filters let strongly negative curvature pass, and those that do not."""


def attracted(
    radii: Sequence[float], n: int, *, seed0: int, run_as: str = "itself", step_size: float = 0.05, steps: int = 1500
) -> xr.DataArray:
    """Whether a uniform start on [-.5, .5]^2 ends within 1e-6 of the saddle: (optimizer, rho, start)."""

    def end(optimizer: str, rho: Tensor, start: Tensor) -> dict[str, Tensor]:
        done = run(
            NEAR, running(optimizer, step_size, rho=rho, run_as=run_as), seed=start, steps=steps, progress=False
        )  # fmt: skip
        return {"saddle": norm(done.parameters) < 1e-6}

    grid = {"optimizer": KINDS, "rho": list(radii), "start": range(seed0, seed0 + n)}
    return sweep(end, **grid, progress=False).saddle


def rate_errors(
    radii: Sequence[float], n: int, *, seed0: int, run_as: str = "itself", step_size: float = 0.1
) -> xr.DataArray:
    """Error of the factor by which the direction of negative curvature changes a step, over its computed error.

    Measured between steps 20 and 40 from 1e-7 N(0, I). The computed error is 10 |x|^2 (the cubic term of the gradient) plus
    40 eps |x|/|x_-| (rounding of 20 steps), with the largest |x| on the way and the smallest part x_- along (1, 1).

    Returns:
        (optimizer, rho, start) for the two kinds that let negative curvature pass.
    """

    def factor(optimizer: str, rho: Tensor, start: Tensor) -> dict[str, object]:
        tiny = 1e-7 * draws.normal(start, (2,), stream="saddle")
        record = {"along": lambda x: (x[0] + x[1]).abs() / 2**0.5, "size": norm}
        rule = running(optimizer, step_size, rho=rho, run_as=run_as)
        kept = run(NEAR, rule, start=tiny, steps=40, record=record, at=[20, 40], progress=False).records
        along, size = (kept[name].value[-2:] for name in ("along", "size"))
        expected = (1 - step_size * curvature_polynomial(by_name(optimizer, step_size, rho=rho))(-1.0)).abs()
        error = 10 * size.amax() ** 2 + 40 * torch.finfo(torch.float64).eps * size.amax() / along.amin()
        return {"ratio": ((along[1] / along[0]) ** 0.05 - expected).abs() / error}

    grid = {"optimizer": PASSING, "rho": list(radii), "start": range(seed0, seed0 + n)}
    return sweep(factor, **grid, progress=False).ratio


def diagram(radii: Sequence[float], step_sizes: Sequence[float], n: int, *, seed0: int, steps: int = 500) -> xr.Dataset:
    """USAM's starts that end within 1e-3 of the saddle, over radius and step size.

    Returns:
        share (step_size, rho) of the starts at the saddle and diverged (the majority of runs).
    """

    def end(rho: Tensor, step_size: Tensor, start: Tensor) -> dict[str, object]:
        done = run(NEAR, by_name("usam", step_size, rho=rho), seed=start, steps=steps, progress=False)
        return {"saddle": (norm(done.parameters) < 1e-3).double()}

    grid = {"rho": list(radii), "step_size": list(step_sizes), "start": range(seed0, seed0 + n)}
    found = sweep(end, **grid, progress=False)
    share = found.saddle.mean("start").transpose("step_size", "rho")
    return xr.Dataset({"share": share, "diverged": found.diverged.mean("start") > 0.5})


def edge_of_usam(radii: np.ndarray) -> np.ndarray:
    """The step size at which p(1) = 1 + rho reaches 2/alpha: above it the eigenvalue 1 is not let pass."""
    return 2 / (1 + radii)
