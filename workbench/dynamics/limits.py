"""Where full-batch runs end: which have converged, and which limits are only rounding's."""

from __future__ import annotations

import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from workbench import curvature, draws
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.run import BLOWUP, Run, run
from workbench.dynamics.sweep import sweep
from workbench.dynamics.update_map import update_map
from workbench.optimizers.pass_band import filter_ratio
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, add_scaled, concrete, count, largest, leaves, norm, subtract, unravel
from workbench.problems.base import Problem


def converged(problem: Problem, rule: Rule, run: Run, tol: float = 1e-10) -> Bool[Tensor, ""]:
    """Whether a full-batch run ended at a critical point: gradient norm and length of the next step are below `tol`.

    `tol` is absolute, made for losses whose curvatures are of order one: at curvature 1e-12 a gradient of 1e-10 is still 100
    away from the minimum, so scale such a loss first. False for runs that diverged.
    """
    following = update_map(problem, rule)(run.parameters, *Lifted(run.state).tensors)[0]
    return (norm(problem.gradient(run.parameters)) < tol) & (norm(subtract(following, run.parameters)) < tol)


def perturbation_audit(
    problem: Problem,
    rule: Rule,
    parameters: Parameters,
    *,
    copies: int = 8,
    size: float = 1e-6,
    steps: int = 8000,
    tol: float = 1e-10,
    blowup: float = BLOWUP,
) -> xr.Dataset:
    """Kick a limit by size * N(0, I) and run on: does it stay?

    An unstable fixed point attracts almost no start, but in floating point a run can freeze on one, when its unstable
    direction grows by less than one unit in the last place per step. A kick frees it. Dataset over `copy`: `ratio` =
    alpha p(lambda_max)/c before and after, `distance` from the limit, `converged`. `blowup` as in `run`.

    Raises ValueError for a kick that is lost in the rounding of the parameters.
    """
    like = leaves(parameters)[0]
    largest_entry = concrete(largest(parameters))
    if largest_entry is not None and not size > torch.finfo(like.dtype).eps * largest_entry:
        raise ValueError(
            f"size={size:g} is lost in the rounding of {like.dtype} parameters up to {largest_entry:.3g}: enlarge it"
        )

    def kicked(copy: Tensor) -> dict[str, Tensor]:
        kick = draws.normal(copy, (count(parameters),), stream="kick").to(like.device, like.dtype)
        start = add_scaled(parameters, size, unravel(kick, parameters))
        end = run(problem, rule, seed=copy, steps=steps, start=start, blowup=blowup)
        return {
            "before": filter_ratio(rule, curvature.sharpness(problem.loss, parameters)),
            "ratio": filter_ratio(rule, curvature.sharpness(problem.loss, end.parameters)),
            "distance": norm(subtract(end.parameters, parameters)),
            "converged": converged(problem, rule, end, tol),
        }

    with torch.no_grad():
        return sweep(kicked, copy=range(copies))
