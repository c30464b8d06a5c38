"""SAM with the ascent of the minibatch before."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class PreviousSAM(EffectiveGradient):
    """g~(x) = g(x + rho h(x)/|h(x)|), h the gradient of the previous step's minibatch at x (arXiv:2206.06232's surrogate).

    At the first step h is of that step's own minibatch. Runs whose steps all see the same samples are refused.

    >>> import torch
    >>> import workbench as wb
    >>> rows = wb.problems.LeastSquares(torch.ones(4, 1), torch.zeros(4))  # minibatches all alike
    >>> rule = wb.optimizers.around(wb.optimizers.PreviousSAM(rho=1.0), 0.1)
    >>> wb.run(rows, rule, start=torch.tensor([3.0]), batch_size=1, steps=1).parameters
    tensor([2.6000])
    """

    rho: HyperParameter
    name = "previous_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.previous.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


@constructor
@listed(
    Row(
        paper="2206.06232",
        equation="g(x + ρu(g of the previous samples))",
        cost="2",
        asks="the previous step's samples",
        quadratics="X as SAM",
        invariance="R, L",
    )
)
def previous_sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """SAM with the ascent of the previous minibatch (see `PreviousSAM`).

    >>> import workbench as wb
    >>> wb.optimizers.previous_sam(0.1, rho=0.05, beta=0.9)
    previous_sam+heavy_ball(step_size=0.1, beta=0.9, rho=0.05)
    """
    return around(PreviousSAM(rho), step_size, beta, momentum)
