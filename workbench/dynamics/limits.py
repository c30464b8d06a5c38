"""Where full-batch runs end: which have converged, and which limits are only rounding's."""

from __future__ import annotations

import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from workbench import curvature, draws
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.run import Run, run
from workbench.dynamics.sweep import sweep
from workbench.dynamics.update_map import update_map
from workbench.optimizers.pass_band import filter_ratio
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, add_scaled, count, leaves, norm, subtract, unravel
from workbench.problems.base import Problem


def converged(problem: Problem, rule: Rule, run: Run, tol: float = 1e-10) -> Bool[Tensor, ""]:
    """Whether a full-batch run ended at a critical point: gradient norm and length of the next step are below `tol`.

    False for runs that diverged.
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
) -> xr.Dataset:
    """Kick a limit by size * N(0, I) and run on: does it stay?

    An unstable fixed point attracts almost no start, but in floating point a run can freeze on one, when its unstable
    direction grows by less than one unit in the last place per step. A kick frees it. Dataset over `copy`: `ratio` =
    alpha p(lambda_max)/c before and after, `distance` from the limit, `converged`.
    """

    def kicked(copy: Tensor) -> dict[str, Tensor]:
        kick = draws.normal(copy, (count(parameters),), stream="kick").to(leaves(parameters)[0].device)
        start = add_scaled(parameters, size, unravel(kick, parameters))
        end = run(problem, rule, seed=copy, steps=steps, start=start)
        return {
            "before": filter_ratio(rule, curvature.sharpness(problem.loss, parameters)),
            "ratio": filter_ratio(rule, curvature.sharpness(problem.loss, end.parameters)),
            "distance": norm(subtract(end.parameters, parameters)),
            "converged": converged(problem, rule, end, tol),
        }

    with torch.no_grad():
        return sweep(kicked, copy=range(copies))
