"""WSAM: sharpness as a weighted regulariser."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, subtract


@dataclass(frozen=True)
class WSAM(EffectiveGradient):
    """g~(x) = g + k (gs - g), k = gamma/(1 - gamma), gs = g(x + rho u(g)) (arXiv:2305.15817); gamma = 1/2 is SAM.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.WSAM(rho=5.0, gamma=0.5), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # SAM
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    gamma: HyperParameter = 0.9
    name = "wsam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("gamma", self.gamma, lower=0.0, upper=1.0, open_upper=True)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient, gamma = oracle.gradient(parameters), at(self.gamma, oracle.step)
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(gradient)))
        return add_scaled(gradient, gamma / (1 - gamma), subtract(displaced, gradient))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, gamma = number("rho", self.rho), number("gamma", self.gamma)
        weight = gamma / (1 - gamma)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho * weight)
        return axis._replace(across=(0.0, 1.0, weight * rho / (eigenvalue * axis.amplitude)))


@listed(
    Row(
        paper="2305.15817",
        equation="g + k(gs − g), k = γ/(1−γ)",
        cost="2",
        code=(
            "dlrover atorch, decoupled by default: a base step with g, then x −= αk(gs−g), which misses "
            "momentum and Adam; clips g and gs at norm 1, γ = .88"
        ),
        quadratics="X = kaρ/(2−a), factors as SAM",
        invariance="R, L",
    )
)
def wsam(
    step_size: HyperParameter,
    rho: HyperParameter,
    gamma: HyperParameter = 0.9,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """WSAM (see `WSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.wsam(0.5, rho=0.1, gamma=0.75), 2.0).amplitude, 6)
    0.3
    """
    return around(WSAM(rho, gamma), step_size, beta, momentum)
