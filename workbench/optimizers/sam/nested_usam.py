"""Nested USAM: an ascent along the gradient at an ascent."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled


@dataclass(frozen=True)
class NestedUSAM(EffectiveGradient):
    """g~(x) = g(x + rho g(x + rho g(x))) (the nested reading of USAM2, arXiv:2510.09034).

    >>> import workbench as wb
    >>> wb.optimizers.NestedUSAM(rho=0.5).curvature()
    (0.0, 1.0, 0.5, 0.25)
    """

    rho: HyperParameter
    name = "nested_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.step)
        once = add_scaled(parameters, rho, oracle.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, rho, oracle.gradient(once)))

    def curvature(self) -> tuple[Scalar, ...]:
        rho = constant("rho", self.rho)
        return (0.0, 1.0, rho, rho * rho)


@constructor
@listed(
    Row(
        paper="2510.09034",
        equation="g(x + ρg(x + ρg(x)))",
        cost="3",
        quadratics="p = λ + ρλ² + ρ²λ³",
        invariance="R",
    )
)
def nested_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """Nested USAM (see `NestedUSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.nested_usam(1 / 3, rho=0.5)), 4)
    2.0
    """
    return around(NestedUSAM(rho), step_size, beta, momentum)
