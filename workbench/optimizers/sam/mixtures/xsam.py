"""XSAM: beyond the displaced gradient on the great circle."""

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
from workbench.parameters import Parameters, add_scaled, inner, norm, normalised, scale


@dataclass(frozen=True)
class XSAM(EffectiveGradient):
    """g~(x) = |gs| slerp(u(g), u(gs), kappa): the direction at kappa times the angle between both, kappa = 1 that of
    gs = g(x + rho u(g)) (arXiv:2603.10048, with kappa fixed).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.XSAM(rho=5.0, kappa=1.0), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # SAM
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    kappa: HyperParameter = 1.5
    name = "xsam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("kappa", self.kappa)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        first = normalised(oracle.gradient(parameters))
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), first))
        second, kappa = normalised(displaced), at(self.kappa, oracle.step)
        cosine = inner(first, second)
        sine = norm(add_scaled(second, -cosine, first))
        angle = torch.atan2(sine, cosine)  # arccos would lose half the digits near 0
        apart = sine >= 1e-8
        safe = torch.where(apart, sine, torch.ones_like(sine))
        early = torch.where(apart, torch.sin((1 - kappa) * angle) / safe, 0.5)
        late = torch.where(apart, torch.sin(kappa * angle) / safe, 0.5)
        return scale(norm(displaced), add_scaled(scale(early, first), late, second))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, kappa = number("rho", self.rho), number("kappa", self.kappa)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        longer = (axis.amplitude + rho) / axis.amplitude
        ascent = rho / (eigenvalue * axis.amplitude)
        return axis._replace(across=(0.0, (1 - kappa) * longer + kappa, kappa * ascent))


@listed(
    Row(
        paper="2603.10048",
        equation="slerp of u(g), u(gs) at κ, times |gs|",
        cost="2 (and 1/3 for each κ that is tried)",
        code="class XSAM: κ chosen anew by a grid of losses; the mean of both directions if sin θ < 1e-8",
        quadratics="X as SAM; flat directions grow iff κ > 2/(2−a)",
        invariance="R, L",
    )
)
def xsam(
    step_size: HyperParameter,
    rho: HyperParameter,
    kappa: HyperParameter = 1.5,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """XSAM (see `XSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.xsam(0.5, rho=0.1), 2.0).amplitude, 6)
    0.1
    """
    return around(XSAM(rho, kappa), step_size, beta, momentum)
