"""The gradient at a random point of the sphere around the parameters."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class RandomSAM(EffectiveGradient):
    """g~(x) = g(x + rho z/|z|), z standard normal and fresh at every step: the control of SAM (arXiv:2206.06232, Sec. 3)."""

    rho: HyperParameter
    name = "random_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.normal("ascent", parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


@constructor
@listed(
    Row(
        paper="2206.06232 (control)",
        equation="g(x + ρu(z)), z normal",
        cost="1",
        asks="normal",
        quadratics="set [0, 2/α]; variance αρ²λ/(P(2−αλ)) along each axis",
        invariance="L",
    )
)
def random_sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """The gradient at a random displacement of length rho (see `RandomSAM`)."""
    return around(RandomSAM(rho), step_size, beta, momentum)
