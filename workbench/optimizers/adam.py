"""Adam around any effective gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, Plain, Remembered, Rule, advanced, remembered
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, tree_map, zeros_like


class AdamState(NamedTuple):
    """The running means of the gradient and of its square."""

    mean: Parameters
    square: Parameters


@dataclass(frozen=True, repr=False)
class Adam(Rule):
    """x+ = x - step_size m / (sqrt(v) + epsilon), m and v the bias-corrected running means of g~ and g~^2 (arXiv:1412.6980).

    The same numbers as torch.optim.Adam with betas (beta, beta_square).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0]).double()
    >>> wb.run(bowl, wb.optimizers.Adam(0.1), start=start, steps=1).parameters  # at first the gradient's signs
    tensor([2.9000, 3.9000], dtype=torch.float64)
    """

    step_size: HyperParameter
    beta: HyperParameter = 0.9
    beta_square: HyperParameter = 0.999
    epsilon: float = 1e-8
    gradient: EffectiveGradient = field(default_factory=Plain)

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        for name in ("beta", "beta_square"):
            refuse_outside(name, getattr(self, name), lower=0.0, upper=1.0, open_upper=True)
        refuse_outside("epsilon", self.epsilon, lower=0.0)

    @property
    def name(self) -> str:
        """The effective gradient's name with "adam"."""
        return f"{self.gradient.name}+adam"

    @property
    def cost(self) -> float | None:
        return getattr(self.gradient, "cost", None)

    def init(self, parameters: Parameters) -> Any:
        """The state before the first step: an `AdamState`, beside what the effective gradient remembers."""
        start = AdamState(zeros_like(parameters), zeros_like(parameters))
        return Remembered.of(start, remembered(self.gradient, parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        """One update."""
        own, memory = Remembered.parts(state)
        step_size = at(self.step_size, oracle.step)
        beta, beta_square = at(self.beta, oracle.step), at(self.beta_square, oracle.step)
        gradient, memory = advanced(self.gradient, oracle, parameters, memory)
        mean = tree_map(lambda m, g: torch.lerp(m, g, _like(1 - beta, m)), own.mean, gradient)
        square = tree_map(lambda v, g: torch.lerp(v, g * g, _like(1 - beta_square, v)), own.square, gradient)
        # Powers in double precision, whatever the parameters are; the step as one quotient, to save passes over memory:
        # step_size m^ / (sqrt(v^) + epsilon) = m / (sqrt(v) slope + offset).
        exponent = (oracle.step + 1).to(torch.float64)
        corrected = step_size / (1 - beta**exponent)
        slope, offset = 1 / ((1 - beta_square**exponent).sqrt() * corrected), self.epsilon / corrected

        def move(x: Tensor, m: Tensor, v: Tensor) -> Tensor:
            return torch.addcdiv(x, m, torch.addcmul(_like(offset, x), v.sqrt(), _like(slope, x)), value=-1)

        return tree_map(move, parameters, mean, square), Remembered.of(AdamState(mean, square), memory)

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)


def _like(value: float | Tensor, leaf: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=leaf.dtype, device=leaf.device)


def adam(
    step_size: HyperParameter,
    beta: HyperParameter = 0.9,
    beta_square: HyperParameter = 0.999,
    *,
    epsilon: float = 1e-8,
    gradient: EffectiveGradient | None = None,
) -> Adam:
    """Adam (arXiv:1412.6980), around any effective gradient: `adam(1e-3, gradient=UnifiedSAM(0.05))` is SAM with Adam.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0]).double()
    >>> rule = wb.optimizers.adam(0.1, gradient=wb.optimizers.UnifiedSAM(rho=5.0))
    >>> wb.run(bowl, rule, start=start, steps=1).parameters
    tensor([2.9000, 3.9000], dtype=torch.float64)
    """
    return Adam(step_size, beta, beta_square, epsilon, gradient or Plain())
