"""LE-SAM: the ascent that raises the loss by a given amount."""

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
from workbench.parameters import Parameters, add_scaled, norm, normalised, scale


@dataclass(frozen=True)
class LESAM(EffectiveGradient):
    """g~(x) = g(x + min(sigma/|g|, rho) u(g)): a radius at which the loss rises by sigma, at most rho (arXiv:2605.10183).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.around(wb.optimizers.LESAM(rho=2.0, sigma=1.5), 0.1)
    >>> wb.run(valley, rule, start=start, steps=1).parameters  # sigma/|g| = 1/2
    tensor([2.6500], dtype=torch.float64)
    """

    rho: HyperParameter
    sigma: HyperParameter
    name = "le_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("sigma", self.sigma, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient, rho = oracle.gradient(parameters), at(self.rho, oracle.step)
        length = norm(gradient)
        # min(sigma/|g|, rho) = sigma/max(|g|, sigma/rho), written so that neither a zero gradient nor rho = 0 divides by zero.
        share = at(self.sigma, oracle.step) / torch.clamp(length * rho, min=torch.finfo(length.dtype).tiny)
        ascent = scale(torch.clamp(share, max=1.0), normalised(gradient))
        return oracle.gradient(add_scaled(parameters, rho, ascent))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, sigma = number("rho", self.rho), number("sigma", self.sigma)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        steady = (sigma / (bound - eigenvalue)) ** 0.5
        if steady < axis.amplitude:
            axis = axis._replace(amplitude=steady, slope=eigenvalue - sigma / steady**2)
        force = eigenvalue * axis.amplitude
        return axis._replace(across=(0.0, 1.0, min(sigma / force, rho) / force))


@listed(
    Row(
        paper="2605.10183",
        equation="g(x + min(σ/|g|, ρ)u(g))",
        cost="2",
        code=(
            "smithgun2005/LE-SAM-ICML2026: σ warmed up for 10 epochs, cosine to 0 from epoch 160, a top-k "
            "option; √(Σg² + 1e-12) for the norm"
        ),
        quadratics="X = min(aρ/(2−a), √(ασ/(2−a))); the second has radial factor 3 − 2a: unstable for a < 1",
        invariance="R",
    )
)
def le_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    sigma: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """LE-SAM (see `LESAM`); rho is the largest radius.

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.le_sam(0.5, rho=0.1, sigma=0.005), 2.0).amplitude, 6)
    0.05
    """
    return around(LESAM(rho, sigma), step_size, beta, momentum)
