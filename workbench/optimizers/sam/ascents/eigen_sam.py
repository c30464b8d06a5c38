"""Eigen-SAM: an ascent turned towards the top eigenvector of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, inner, normalised


@dataclass(frozen=True)
class EigenSAM(EffectiveGradient):
    """g~(x) = g(x + rho u(d)), d = u(g) + kappa sign(g.v) (v - <v, u(g)> u(g)), v after `iterations` power steps on the Hessian
    from a random direction, fresh at every step (arXiv:2501.12666, which refreshes v less often).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([2.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.around(wb.optimizers.EigenSAM(rho=1.0), 0.1), start=start, steps=1).parameters
    tensor([2.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    kappa: HyperParameter = 0.2
    iterations: int = 5
    name = "eigen_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("kappa", self.kappa)
        require_count("iterations", self.iterations)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        top = normalised(oracle.normal("power", parameters))
        for _ in range(self.iterations):
            top = normalised(oracle.hessian_vector_product(parameters, top))
        along = normalised(oracle.gradient(parameters))
        cosine = inner(top, along)
        beside = add_scaled(top, -cosine, along)
        ascent = add_scaled(along, at(self.kappa, oracle.step) * torch.sign(cosine), beside)
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(ascent)))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        """With v converged to the axis, which must then be the top eigenvector's."""
        rho, kappa = number("rho", self.rho), number("kappa", self.kappa)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        return axis._replace(across=(0.0, 1.0, (1 - kappa) * rho / (eigenvalue * axis.amplitude)))


@listed(
    Row(
        paper="2501.12666",
        equation="v: k power steps on H; d = u(g) + κ sign(g·v)(v − ⟨v,u(g)⟩u(g)); g(x + ρu(d))",
        cost="2 + 2k",
        asks="Hv, normal",
        code="RitianLuo/EigenSAM: v of the last refresh (every 100 steps, 5 iterations, BatchNorm in eval mode)",
        quadratics="X if the start vector sees the top eigenvector",
        invariance="R, L if v has converged",
    )
)
def eigen_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    kappa: HyperParameter = 0.2,
    iterations: int = 5,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Eigen-SAM (see `EigenSAM`).

    >>> import workbench as wb
    >>> wb.optimizers.cycle_set(wb.optimizers.eigen_sam(0.5, rho=0.1, kappa=1.0), 2.0)
    [(0.0, 4.0)]
    """
    return around(EigenSAM(rho, kappa, iterations), step_size, beta, momentum)
