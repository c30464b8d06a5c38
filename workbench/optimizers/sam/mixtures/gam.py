"""GAM: the gradient and that of the largest gradient norm nearby."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class GAM(EffectiveGradient):
    """g~(x) = g + kappa rho H(y) u(g(y)), y = x + rho u(H u(g)) (arXiv:2303.03108, Alg. 1; kappa is its alpha).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.GAM(rho=5.0), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # g + rho/2 u(g)
    tensor([2.5500, 3.4000], dtype=torch.float64)
    """

    rho: HyperParameter
    kappa: HyperParameter = 0.5
    name = "gam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("kappa", self.kappa, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient, rho = oracle.gradient(parameters), at(self.rho, oracle.step)
        ascent = normalised(oracle.hessian_vector_product(parameters, normalised(gradient)))
        displaced = add_scaled(parameters, rho, ascent)
        steepest = oracle.hessian_vector_product(displaced, normalised(oracle.gradient(displaced)))
        return add_scaled(gradient, at(self.kappa, oracle.step) * rho, steepest)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, kappa = number("rho", self.rho), number("kappa", self.kappa)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho * kappa)
        weight = kappa * rho / (eigenvalue * (axis.amplitude + rho))
        ascent = rho / (eigenvalue**2 * axis.amplitude)
        return axis._replace(across=(0.0, 1.0, weight, 0.0, weight * ascent))


@listed(
    Row(
        paper="2303.03108",
        equation="y = x + ρu(Hu(g)); g + κρH(y)u(g(y))",
        cost="6",
        asks="Hv",
        code="xxgege/GAM: another rule with 4 gradients, b₁g₁ + b₃g₃ − γ(the part of g₀ + |b₂|g₂ normal to it)",
        quadratics="X = κaρ/(2−a)",
        invariance="R, L",
    )
)
def gam(
    step_size: HyperParameter,
    rho: HyperParameter,
    kappa: HyperParameter = 0.5,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """GAM (see `GAM`). The loss must be twice differentiable.

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.gam(0.5, rho=0.1, kappa=0.5), 2.0).amplitude, 6)
    0.05
    """
    return around(GAM(rho, kappa), step_size, beta, momentum)
