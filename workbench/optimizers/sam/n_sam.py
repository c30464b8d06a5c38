"""n-SAM: the whole minibatch displaced along the gradient of all samples."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class NSAM(EffectiveGradient):
    """g~(x) = g(x + rho g_all(x)/|g_all(x)|), g_all the gradient over all samples (arXiv:2206.06232, Sec. 3)."""

    rho: HyperParameter
    name = "n_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.full.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


@constructor
def n_sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """n-SAM (see `NSAM`)."""
    return around(NSAM(rho), step_size, beta, momentum)
