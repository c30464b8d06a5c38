"""Descent on the loss and its squared gradient norm."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled


@dataclass(frozen=True)
class GradientPenalty(EffectiveGradient):
    """g~(x) = g(x) + rho H(x) g(x), the gradient of f + rho/2 |grad f|^2.

    >>> import workbench as wb
    >>> wb.optimizers.GradientPenalty(rho=0.5).curvature()
    (0.0, 1.0, 0.5)
    """

    rho: HyperParameter
    name = "gradient_penalty"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        penalty = oracle.hessian_vector_product(parameters, gradient)
        return add_scaled(gradient, at(self.rho, oracle.step), penalty)

    def curvature(self) -> tuple[Scalar, ...]:
        rho = constant("rho", self.rho)
        return (0.0, 1.0, rho)


@constructor
@listed(
    Row(
        paper="2510.09034",
        equation="g + ρHg",
        cost="3",
        asks="Hv",
        quadratics="p = λ(1+ρλ)",
        invariance="R",
    )
)
def gradient_penalty(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """Descent on f + rho/2 |grad f|^2 (see `GradientPenalty`).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([2.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.gradient_penalty(0.1, rho=0.5), start=start, steps=1).parameters
    tensor([1.8000], dtype=torch.float64)
    """
    return around(GradientPenalty(rho), step_size, beta, momentum)
