"""SAM that divides by the norm of the whole gradient."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, norm


@dataclass(frozen=True)
class DNSAM(EffectiveGradient):
    """g~(x) = g(x + rho g(x)/|grad f(x)|), f the loss over all samples without noise (arXiv:2301.08203, "DNSAM").

    The displacement has no bound: where grad f(x) = 0 it is infinite and the run diverges. Without samples or noise it is SAM.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.around(wb.optimizers.DNSAM(rho=5.0), 0.1), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    name = "dnsam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        size = norm(oracle.full.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step) / size, oracle.gradient(parameters)))


@constructor
@listed(
    Row(
        paper="2301.08203",
        equation="g(x + ρg/|g of all samples|)",
        cost="2 + n/b",
        asks="the full gradient",
        code="none read",
        quadratics="on full batches SAM",
        invariance="R, L",
    )
)
def dnsam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """SAM normalised by the gradient over all samples (see `DNSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> wb.run(rows, wb.optimizers.dnsam(1.0, rho=1.0), start=start, steps=1).parameters
    tensor([1.2000, 1.6000])
    """
    return around(DNSAM(rho), step_size, beta, momentum)
