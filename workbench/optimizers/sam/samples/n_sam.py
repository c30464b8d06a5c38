"""n-SAM: the whole minibatch displaced along the gradient of all samples."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class NSAM(EffectiveGradient):
    """g~(x) = g(x + rho g_all(x)/|g_all(x)|), g_all the gradient over all samples (arXiv:2206.06232, Sec. 3).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> wb.run(rows, wb.optimizers.around(wb.optimizers.NSAM(rho=1.0), 1.0), start=start, steps=1).parameters
    tensor([1.2000, 1.6000])
    """

    rho: HyperParameter
    name = "n_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.full.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho = number("rho", self.rho)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        return axis._replace(across=(0.0, 1.0, rho / (eigenvalue * axis.amplitude)))


@constructor
@listed(
    Row(
        paper="2206.06232",
        equation="g(x + ρu(g of all samples))",
        cost="1 + n/b",
        asks="the full gradient",
        quadratics="X as SAM",
        invariance="R, L",
    )
)
def n_sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """n-SAM (see `NSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.n_sam(0.5, rho=0.1), 2.0).amplitude, 6)
    0.1
    """
    return around(NSAM(rho), step_size, beta, momentum)
