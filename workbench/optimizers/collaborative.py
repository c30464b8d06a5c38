"""Rules for one user among several: averaging the others' gradients, and correcting the bias that they bring."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.oracle import NotProvided, Oracle
from workbench.optimizers.rule import Rule
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, subtract, tree_map, zeros_like


@dataclass(frozen=True)
class RunningMean:
    """The weight of the newest of all values so far, 1/(step + 1), but never below `floor`: a mean, then an exponential one.

    `RunningMean(0.0)` averages all that was seen. With `SwitchOn(step_size, K)` as step size, the first K steps only learn.

    >>> import torch
    >>> import workbench as wb
    >>> wb.optimizers.RunningMean()(torch.tensor(3.0)).item()
    0.25
    """

    floor: float | Tensor = 0.0

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return torch.maximum(1 / (step + 1), torch.as_tensor(self.floor, dtype=step.dtype, device=step.device))


@dataclass(frozen=True, eq=False, repr=False)
class GradientAveraging(Rule):
    """x+ = x - step_size ((1 - alpha) g_0 + alpha (mean of the others' g_i - c)), c+ = (1 - beta) c + beta (mean g_i - g_0).

    All gradients are at the old x and of the same samples (arXiv:2111.05968). c learns the bias of the others and starts at 0:
    beta = 0 keeps it there, which is weighted gradient averaging; beta = 1/(step + 1) (`RunningMean`) averages all differences
    seen. alpha = 0 is gradient descent on one's own. Asks for `source=Users((own, *others), each)`.

    >>> import workbench as wb
    >>> users = tuple(wb.problems.quadratic(torch.tensor([curvature])) for curvature in (1.0, 2.0))
    >>> rule = GradientAveraging(step_size=0.5, alpha=0.5)
    >>> run = wb.run(users[0], rule, start=torch.tensor([1.0]), source=wb.dynamics.sources.Users(users), steps=1)
    >>> run.parameters.item()
    0.25
    """

    step_size: HyperParameter
    alpha: HyperParameter
    beta: HyperParameter = 0.0

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        for name in ("alpha", "beta"):
            refuse_outside(name, getattr(self, name), lower=0.0, upper=1.0)

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def step(self, oracle: Oracle, parameters: Parameters, state: Parameters) -> tuple[Parameters, Parameters]:
        users = oracle.users
        if users.count < 2:
            raise NotProvided("other users", "source=Users(...) has one's own problem alone")
        gradients = users.gradients(parameters)
        own, others = tree_map(lambda g: g[0], gradients), tree_map(lambda g: g[1:].mean(0), gradients)
        along = _between(own, subtract(others, state), at(self.alpha, oracle.step))
        learned = _between(state, subtract(others, own), at(self.beta, oracle.step))
        return add_scaled(parameters, -self.duration(oracle), along), learned

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)


def _between(x: Parameters, y: Parameters, weight: Scalar) -> Parameters:
    return add_scaled(x, weight, subtract(y, x))
