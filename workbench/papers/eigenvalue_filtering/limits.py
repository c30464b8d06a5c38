"""What counts as a limit of a run, and the audit of limits that lie just above the edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from workbench.dynamics.limits import converged, perturbation_audit
from workbench.dynamics.run import Run
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters
from workbench.problems.base import Problem

FLOOR = 1e-13
"""Gradient norms below this are rounding: they may rise."""
SHARE = 0.01
"""At most this share of the limits may need an audit before a statement about them can be read."""


def window(steps: int) -> list[int]:
    """The steps at which a run's gradient is looked at: three quarters, 19 twentieths and the end of it."""
    return [3 * steps // 4, steps - steps // 20, steps]


def is_limit(problem: Problem, rule: Rule, run: Run, tol: float) -> Bool[Tensor, ""]:
    """Whether a run has reached a limit: gradient and next move below `tol`, the gradient also a twentieth of the run before,
    and not leaving: the gradient has not risen over the last quarter (beyond rounding, `FLOOR`).

    Near an unstable fixed point gradient and step are tiny for hundreds of steps while the run is on its way out. The run
    must have recorded "gradient_norm" at `window(steps)`. False for runs that diverged.
    """
    before, late, end = run.records["gradient_norm"].value[-3:]
    return converged(problem, rule, run, tol) & (late < tol) & (end <= before.clamp_min(FLOOR))


def audit_band(steps: int) -> float:
    """The largest ratio r that rounding can hold at an unstable fixed point: min(1 + 13/T, 1.005).

    A run leaves at the rate 1 + 2(r - 1) a step, so that rounding, 1e-16, needs ln(1e-10/1e-16)/(2 (r - 1)) steps to become
    visible; a run that still looks converged after T steps, half of them spent there, has r - 1 <= 13/T.
    """
    return min(1 + 13 / steps, 1.005)


def audit_steps(ratio: float, steps: int, tol: float) -> int:
    """How long a kicked copy runs: 4T steps, or as long as it needs to leave and to settle, at most 128T.

    A kick of 1e-6 grows, and the rest of the way to the new limit shrinks to `tol`, by the factor 1 + 2(r - 1) a step.
    """
    needed = math.log(1 / (1e-6 * tol)) / (2 * (ratio - 1))
    return round(min(max(4 * steps, needed), 128 * steps))


def audited(
    problem: Problem,
    ratio: xr.DataArray,
    parameters: xr.DataArray,
    rule_at: Callable[[Mapping[Hashable, object]], Rule],
    rebuild: Callable[[Tensor], Parameters],
    *,
    steps: int,
    tol: float,
) -> xr.Dataset:
    """Limits with a ratio in (1, band] are kicked eight times and run on (`audit_steps`); the largest ratio then counts.

    A kicked copy that has not converged counts with the larger of its ratios before and after. Ratios beyond the band are left
    as they are. Where more than `SHARE` of the limits would need an audit none is done: the statement is then undecided.

    Args:
        ratio: the largest ratio of every limit, NaN where there is none.
        parameters: of the same runs, with the dimension `parameter`.
        rule_at: the rule that ran at a point of the sweep.
        rebuild: the parameters from their vector.

    Returns:
        ratio after the audit; suspects, whether it lay in the band; readable, whether so few did that the rest can be read.
    """
    suspects = (ratio > 1) & (ratio <= audit_band(steps))
    limits = int(ratio.notnull().sum())
    readable = int(suspects.sum()) <= SHARE * limits
    after = ratio.copy()
    for place in zip(*suspects.values.nonzero(), strict=True) if readable else ():
        here = {dim: ratio[dim].values[k] for dim, k in zip(ratio.dims, place, strict=True)}
        vector = torch.from_numpy(parameters.sel(here).values)
        more = audit_steps(float(ratio.sel(here)), steps, tol)
        kicked = perturbation_audit(problem, rule_at(here), rebuild(vector), steps=more, tol=tol)
        seen = kicked.ratio.where(kicked.converged, xr.ufuncs.maximum(kicked.ratio, kicked.before))
        after.loc[here] = float(seen.max())
    return xr.Dataset({"ratio": after, "suspects": suspects, "readable": readable})
