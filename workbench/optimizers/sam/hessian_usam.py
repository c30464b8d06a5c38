"""Hessian USAM: an ascent along the Hessian times the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled


@dataclass(frozen=True)
class HessianUSAM(EffectiveGradient):
    """g~(x) = g(x + rho H(x) g(x)) (HUSAM, arXiv:2510.09034).

    >>> import workbench as wb
    >>> wb.optimizers.HessianUSAM(rho=0.25).curvature()
    (0.0, 1.0, 0.0, 0.25)
    """

    rho: HyperParameter
    name = "hessian_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = oracle.hessian_vector_product(parameters, oracle.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def curvature(self) -> tuple[Scalar, ...]:
        rho = constant("rho", self.rho)
        return (0.0, 1.0, 0.0, rho)


@constructor
@listed(
    Row(
        paper="2510.09034",
        equation="g(x + ρHg)",
        cost="4",
        asks="Hv",
        quadratics="p = λ(1+ρλ²)",
        invariance="R",
    )
)
def hessian_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """Hessian USAM (see `HessianUSAM`). The loss must be twice differentiable: ReLU's kinks are not seen.

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.hessian_usam(0.5, rho=0.25)), 4)
    2.0
    """
    return around(HessianUSAM(rho), step_size, beta, momentum)
