"""A rule on a problem as a map of its state to the next: what stability theory speaks of."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workbench.dynamics.oracle import StepOracle
from workbench.optimizers.rule import Rule, State
from workbench.parameters import Parameters, leaves, on_device, zeros_like
from workbench.problems.base import Problem


def update_map(problem: Problem, rule: Rule) -> Callable[..., tuple[Parameters, ...]]:
    """One full-batch step as a function of the state: (parameters,), or (parameters, velocity) with momentum.

    The velocity is (x_prev - x)/step_size, so the Jacobian has the spectrum of the one on (x, x_prev). Hyper-parameters
    must be constant. With `wb.curvature.update_jacobian(update_map(problem, rule), *resting(rule, x))` one has the
    linearisation at x.
    """

    def step(parameters: Parameters, velocity: Parameters | None = None) -> tuple[Parameters, ...]:
        device = leaves(parameters)[0].device
        count = torch.zeros((), dtype=torch.int64, device=device)
        moved, state = on_device(rule, device).step(StepOracle(problem, count), parameters, State(count, velocity))
        return (moved,) if state.velocity is None else (moved, state.velocity)

    return step


def resting(rule: Rule, parameters: Parameters) -> tuple[Parameters, ...]:
    """The state of a run that stands still at `parameters`."""
    return (parameters,) if rule.momentum == "none" else (parameters, zeros_like(parameters))
