"""Stable SAM: the displaced gradient with the length of the one here."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.cycles import Axis
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, norm, normalised, scale


@dataclass(frozen=True)
class StableSAM(EffectiveGradient):
    """g~(x) = |g| u(gs), gs = g(x + rho u(g)) (arXiv:2401.07250).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.StableSAM(rho=5.0), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # here g and gs are parallel
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """

    rho: HyperParameter
    name = "stable_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(gradient)))
        return scale(norm(gradient), normalised(displaced))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        raise ValueError("stable_sam has no 2-cycle: on an axis it is gradient descent, and comes to rest")


@constructor
@listed(
    Row(
        paper="2401.07250",
        equation="|g| u(gs)",
        cost="2",
        code="none read",
        quadratics="on an axis exactly gd; off axes homogeneous but not linear",
        invariance="R, L",
        mark="abstract",
    )
)
def stable_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Stable SAM (see `StableSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([2.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.stable_sam(0.1, rho=1.0), start=start, steps=1).parameters
    tensor([2.4000], dtype=torch.float64)
    """
    return around(StableSAM(rho), step_size, beta, momentum)
