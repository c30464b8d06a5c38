"""VaSSO: an ascent along the running mean of the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, tree_map, where, zeros_like


@dataclass(frozen=True)
class VaSSO(EffectiveGradient):
    """g~(x) = g(x + rho u(d)), d <- (1 - theta) d + theta g, the first gradient at the start (arXiv:2309.15639).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.around(wb.optimizers.VaSSO(rho=5.0), 0.1), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    theta: HyperParameter = 0.4
    name = "vasso"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("theta", self.theta, lower=0.0, upper=1.0, open_lower=True)

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Parameters]:
        gradient, theta = oracle.gradient(parameters), at(self.theta, oracle.step)
        mean = tree_map(lambda d, g: (1 - theta) * d + theta * g, memory, gradient)
        mean = where(oracle.step == 0, gradient, mean)
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(mean))), mean

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        return alternating(self.name, bound, eigenvalue, eigenvalue * number("rho", self.rho))

    def transverse(self, other: float, eigenvalue: float, amplitude: float, step_size: float) -> list[list[float]]:
        """One step of (x_j, d_j): while alternating |d| = theta/(2 - theta) times |g|."""
        rho, theta = number("rho", self.rho), number("theta", self.theta)
        push = step_size * other * rho / (theta / (2 - theta) * eigenvalue * amplitude)
        return [[1 - step_size * other - push * theta * other, -push * (1 - theta)], [theta * other, 1 - theta]]


@listed(
    Row(
        paper="2309.15639",
        equation="d ← (1−θ)d + θg, d₀ = g₀; g(x + ρu(d))",
        cost="2",
        asks="memory",
        code="BingcongLi/VaSSO: agrees; 1e-7 added to the norm",
        quadratics="X as SAM (gain θ/(2−θ)); attracts along the top axis alone",
        invariance="R, L",
    )
)
def vasso(
    step_size: HyperParameter,
    rho: HyperParameter,
    theta: HyperParameter = 0.4,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """VaSSO (see `VaSSO`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.vasso(0.5, rho=0.1), 2.0).amplitude, 6)
    0.1
    """
    return around(VaSSO(rho, theta), step_size, beta, momentum)
