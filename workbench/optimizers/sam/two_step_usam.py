"""Two-step USAM: two successive ascents."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled


@dataclass(frozen=True)
class TwoStepUSAM(EffectiveGradient):
    """y = x + rho g(x), z = y + rho g(y), g~(x) = g(z) (the successive reading of USAM2, arXiv:2510.09034).

    >>> import workbench as wb
    >>> wb.optimizers.TwoStepUSAM(rho=0.5).curvature()
    (0.0, 1.0, 1.0, 0.25)
    """

    rho: HyperParameter
    name = "two_step_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.step)
        once = add_scaled(parameters, rho, oracle.gradient(parameters))
        return oracle.gradient(add_scaled(once, rho, oracle.gradient(once)))

    def curvature(self) -> tuple[Scalar, ...]:
        rho = constant("rho", self.rho)
        return (0.0, 1.0, 2 * rho, rho * rho)


@constructor
@listed(
    Row(
        paper="2510.09034",
        equation="y = x + ρg(x), z = y + ρg(y); g(z)",
        cost="3",
        quadratics="p = λ(1+ρλ)²",
        invariance="R",
    )
)
def two_step_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """Two-step USAM, two successive ascents (see `TwoStepUSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.two_step_usam(0.25, rho=0.5)), 4)
    2.0
    """
    return around(TwoStepUSAM(rho), step_size, beta, momentum)
