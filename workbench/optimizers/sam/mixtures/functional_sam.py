"""Functional SAM: only the outputs' Jacobian is taken at the ascent point."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, normalised


@dataclass(frozen=True)
class FunctionalSAM(EffectiveGradient):
    """g~(x) = J(x + rho u(g))^T s(x), J the Jacobian of the model's outputs and s the loss's derivative in them
    (arXiv:2502.02407).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.FunctionalSAM(rho=1.0), 0.1)
    >>> wb.run(rows, rule, start=start, steps=1).parameters  # linear model: gradient descent
    tensor([2.8500, 3.8000])
    """

    rho: HyperParameter
    name = "functional_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.gradient(parameters))
        return oracle.gradient_through(parameters, add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def curvature(self) -> tuple[Scalar, ...]:
        """Of models that are linear in their parameters: p = lambda, as gradient descent."""
        return (0.0, 1.0)


@constructor
@listed(
    Row(
        paper="2502.02407",
        equation="J(x + ρu(g))ᵀ s(x), J of the outputs, s of the loss in them",
        cost="2",
        asks="outputs",
        code="none read",
        quadratics="linear models: as gd, p = λ",
        invariance="R, L",
        mark="abstract",
    )
)
def functional_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Functional SAM (see `FunctionalSAM`), for problems with a model: classifiers, linear models.

    >>> import workbench as wb
    >>> wb.optimizers.admissible_set(wb.optimizers.functional_sam(0.5, rho=0.1))
    [(0.0, 4.0)]
    """
    return around(FunctionalSAM(rho), step_size, beta, momentum)
