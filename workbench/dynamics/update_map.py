"""A rule on a problem as a map of its state to the next: what stability theory speaks of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.draws.table import Draws, Request
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.sources.samples import AllSamples
from workbench.optimizers.oracle import Moment, NotProvided
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, leaves, on_device
from workbench.problems.base import Problem


def update_map(problem: Problem, rule: Rule) -> Callable[..., tuple]:
    """One full-batch step as a function (parameters, *state) -> (parameters, *state), the tensors of the rule's state one by one
    (of heavy ball and Nesterov the velocity (x_prev - x)/step_size, so that the Jacobian has the spectrum of the one on
    (x, x_prev)).

    Hyper-parameters must be constant. With `wb.curvature.update_jacobian(update_map(problem, rule), *resting(rule, x))` one has
    the linearisation at x. Raises NotProvided for rules that ask for random numbers or minibatches.
    """

    def step(parameters: Parameters, *tensors: Tensor) -> tuple:
        device = leaves(parameters)[0].device
        zero = torch.zeros((), dtype=torch.int64, device=device)
        moment = Moment(problem, parameters, zero, Draws(_none))
        here = on_device(rule, device)
        state = Lifted(here.init(parameters)).rebuild(list(tensors))
        moved, after = here.step(AllSamples().oracle(moment), parameters, state)
        return (moved, *Lifted(after).tensors)

    return step


def resting(rule: Rule, parameters: Parameters) -> tuple:
    """The state of a run that stands still at `parameters`: what `update_map` takes."""
    return (parameters, *Lifted(rule.init(parameters)).tensors)


def _none(request: Request) -> Tensor:
    raise NotProvided("random numbers", f"an update map is of all samples and has none of {request[0]!r}")
