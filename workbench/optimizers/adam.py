"""Adam around any effective gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.optimizers.rule import EffectiveGradient, Oracle, Plain, refuse_outside
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, leaves, tree_map, zeros_like


class AdamState(NamedTuple):
    """Steps taken, and the running means of the gradient and of its square."""

    count: Int[Tensor, ""]
    velocity: Parameters
    square: Parameters


@dataclass(frozen=True)
class Adam:
    """x+ = x - step_size m / (sqrt(v) + epsilon), m and v the bias-corrected running means of g~ and g~^2 (arXiv:1412.6980).

    The same numbers as torch.optim.Adam with betas (beta, beta_square).
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

    def init(self, parameters: Parameters) -> AdamState:
        """The state before the first step."""
        count = torch.zeros((), dtype=torch.int64, device=leaves(parameters)[0].device)
        return AdamState(count, zeros_like(parameters), zeros_like(parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: AdamState) -> tuple[Parameters, AdamState]:
        """One update."""
        count = state.count + 1
        step_size = at(self.step_size, state.count)
        beta, beta_square = at(self.beta, state.count), at(self.beta_square, state.count)
        gradient = self.gradient(oracle, parameters)
        mean = tree_map(lambda m, g: torch.lerp(m, g, _like(1 - beta, m)), state.velocity, gradient)
        square = tree_map(lambda v, g: torch.lerp(v, g * g, _like(1 - beta_square, v)), state.square, gradient)
        # Powers in double precision, whatever the parameters are; the step as one quotient, to save passes over memory:
        # step_size m^ / (sqrt(v^) + epsilon) = m / (sqrt(v) slope + offset).
        exponent = count.to(torch.float64)
        corrected = step_size / (1 - beta**exponent)
        slope, offset = 1 / ((1 - beta_square**exponent).sqrt() * corrected), self.epsilon / corrected

        def move(x: Tensor, m: Tensor, v: Tensor) -> Tensor:
            return torch.addcdiv(x, m, torch.addcmul(_like(offset, x), v.sqrt(), _like(slope, x)), value=-1)

        return tree_map(move, parameters, mean, square), AdamState(count, mean, square)


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
    """Adam (arXiv:1412.6980), around any effective gradient: `adam(1e-3, gradient=UnifiedSAM(0.05))` is SAM with Adam."""
    return Adam(step_size, beta, beta_square, epsilon, gradient or Plain())
