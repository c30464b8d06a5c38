"""CR-SAM: a curvature and a slope by differences on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, tree_map


@dataclass(frozen=True)
class CRSAM(EffectiveGradient):
    """g~(x) = g+ + gamma (g+ + g- - 2 g) + delta (g+ - g-), g+- = g(x +- rho u(g)) (arXiv:2312.13555; delta is its beta).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.CRSAM(rho=5.0, delta=0.5), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters
    tensor([2.1000, 2.8000], dtype=torch.float64)
    """

    rho: HyperParameter
    gamma: HyperParameter = 0.1
    delta: HyperParameter = 0.1
    name = "cr_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("gamma", self.gamma)
        refuse_outside("delta", self.delta)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient, rho = oracle.gradient(parameters), at(self.rho, oracle.step)
        gamma, delta, ascent = at(self.gamma, oracle.step), at(self.delta, oracle.step), normalised(gradient)
        above = oracle.gradient(add_scaled(parameters, rho, ascent))
        below = oracle.gradient(add_scaled(parameters, -rho, ascent))
        return tree_map(lambda g, p, m: p + gamma * (p + m - 2 * g) + delta * (p - m), gradient, above, below)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho = number("rho", self.rho) * (1 + 2 * number("delta", self.delta))
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        return axis._replace(across=(0.0, 1.0, rho / (eigenvalue * axis.amplitude)))


@listed(
    Row(
        paper="2312.13555",
        equation="g₊ + γ(g₊ + g₋ − 2g) + δ(g₊ − g₋), g± = g(x ± ρu(g))",
        cost="3",
        code="TrustAIoT/CR-SAM: exactly this, not normalised; the paper's trace is normalised",
        quadratics="the γ term is 0; X = aρ(1+2δ)/(2−a)",
        invariance="R, L",
    )
)
def cr_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    gamma: HyperParameter = 0.1,
    delta: HyperParameter = 0.1,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """CR-SAM (see `CRSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.cr_sam(0.5, rho=0.1, delta=0.5), 2.0).amplitude, 6)
    0.2
    """
    return around(CRSAM(rho, gamma, delta), step_size, beta, momentum)
