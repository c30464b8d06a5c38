"""k-SAM: both gradients from the samples with the largest losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checks import require_count
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class KSAM(EffectiveGradient):
    """g~(x) = g_S(x + rho u(g_S(x))), S the k samples of the minibatch with the largest losses at x (arXiv:2210.12864).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.KSAM(rho=1.0, k=1), 0.1)
    >>> wb.run(rows, rule, start=start, steps=1).parameters  # the second row's loss is larger
    tensor([3.0000, 3.5000])
    """

    rho: HyperParameter
    k: int
    name = "k_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("k", self.k)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        losses = oracle.groups(1).losses(parameters)
        hardest = oracle.chosen(largest_first(losses, self.k, "k"))
        ascent = normalised(hardest.gradient(parameters))
        return hardest.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


def largest_first(values: torch.Tensor, k: int, argument: str) -> torch.Tensor:
    """The indices of the k largest values, the first of equal ones first. Raises ValueError for fewer than k values."""
    if k > values.shape[0]:
        raise ValueError(f"{argument} must be at most the {values.shape[0]} samples of a step, got {k}")
    return torch.argsort(values, descending=True, stable=True)[:k]


@listed(
    Row(
        paper="2210.12864",
        equation="the k largest losses of the batch at x; gs of these",
        cost="1/3 + 2k/b",
        asks="single samples' losses",
        code="none found",
        quadratics="X as SAM",
        invariance="R, L",
        mark="recalled",
    )
)
def k_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    k: int,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """k-SAM (see `KSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> wb.run(rows, wb.optimizers.k_sam(1.0, rho=1.0, k=2), start=start, steps=1).parameters
    tensor([1.2000, 1.6000])
    """
    return around(KSAM(rho, k), step_size, beta, momentum)
