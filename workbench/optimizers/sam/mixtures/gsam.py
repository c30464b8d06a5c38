"""GSAM: the surrogate gap falls with the loss at the ascent point."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, inner, normalised


@dataclass(frozen=True)
class GSAM(EffectiveGradient):
    """g~(x) = gs - kappa (g - <g, u(gs)> u(gs)), gs = g(x + rho u(g)) (arXiv:2203.08065, Alg. 1; kappa is its alpha).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.around(wb.optimizers.GSAM(rho=5.0), 0.1), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    kappa: HyperParameter = 0.4
    name = "gsam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("kappa", self.kappa, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(gradient)))
        along = normalised(displaced)
        beside = add_scaled(gradient, -inner(gradient, along), along)
        return add_scaled(displaced, -at(self.kappa, oracle.step), beside)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, kappa = number("rho", self.rho), number("kappa", self.kappa)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        share = axis.amplitude / (axis.amplitude + rho)
        ascent = rho / (eigenvalue * axis.amplitude)
        return axis._replace(across=(0.0, 1 - kappa * (1 - share), ascent * (1 + kappa * share)))


@listed(
    Row(
        paper="2203.08065",
        equation="gs − κ(g − ⟨g,u(gs)⟩u(gs))",
        cost="2",
        code="juntang-zhuang/GSAM: agrees; ρ follows the step size; DDP sums gradients after local perturbations",
        quadratics="X as SAM; flat directions grow iff κ > 2/(2−a)",
        invariance="R, L",
    )
)
def gsam(
    step_size: HyperParameter,
    rho: HyperParameter,
    kappa: HyperParameter = 0.4,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """GSAM (see `GSAM`).

    >>> import workbench as wb
    >>> wb.optimizers.cycle_set(wb.optimizers.gsam(0.5, rho=0.1, kappa=0.0), 2.0)
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    return around(GSAM(rho, kappa), step_size, beta, momentum)
