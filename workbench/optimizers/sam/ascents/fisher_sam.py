"""Fisher SAM: an ascent in the metric of the squared gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, tree_map


@dataclass(frozen=True)
class FisherSAM(EffectiveGradient):
    """g~(x) = g(x + rho d/sqrt(g.d)), d = g/(1 + eta g^2) entry by entry (arXiv:2206.04920).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.around(wb.optimizers.FisherSAM(rho=2.0, eta=1 / 3), 0.1)
    >>> wb.run(valley, rule, start=start, steps=1).parameters  # rho/sqrt(1 + eta g^2) = 1
    tensor([2.6000], dtype=torch.float64)
    """

    rho: HyperParameter
    eta: HyperParameter = 1.0
    name = "fisher_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("eta", self.eta, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient, eta = oracle.gradient(parameters), at(self.eta, oracle.step)
        # With h = g/sqrt(1 + eta g^2) the ascent is u(h)/sqrt(1 + eta g^2), which is 0 at g = 0.
        shrink = tree_map(lambda g: (1 + eta * g * g).rsqrt(), gradient)
        ascent = tree_map(torch.mul, shrink, normalised(tree_map(torch.mul, shrink, gradient)))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, eta = number("rho", self.rho), number("eta", self.eta)
        flat = alternating(self.name, bound, eigenvalue, eigenvalue * rho).amplitude  # at eta = 0, SAM's
        steep = eta * eigenvalue**2
        amplitude = flat * (2 / (1 + (1 + 4 * steep * flat**2) ** 0.5)) ** 0.5
        length = rho / (1 + steep * amplitude**2) ** 0.5
        slope = eigenvalue * (1 - steep * amplitude * length / (1 + steep * amplitude**2))
        # The metric of an entry at zero is 1, and h has there the length of the one entry that is not.
        across = length * (1 + steep * amplitude**2) / (eigenvalue * amplitude)
        return Axis(amplitude, slope, (0.0, 1.0, across))


@listed(
    Row(
        paper="2206.04920",
        equation="g(x + ρd/√(g·d)), d = g/(1 + ηg²)",
        cost="2",
        code="none by the authors found",
        quadratics="X² = (−1 + √(1 + 4ηλ²a²ρ²/(2−a)²))/(2ηλ²)",
        invariance="",
        mark="recalled",
    )
)
def fisher_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    eta: HyperParameter = 1.0,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Fisher SAM (see `FisherSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.fisher_sam(0.5, rho=2**0.5, eta=0.25), 2.0).amplitude, 6)
    1.0
    """
    return around(FisherSAM(rho, eta), step_size, beta, momentum)
