"""SSAM: an ascent of the parameters with the largest Fisher information."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import (
    Parameters,
    add_scaled,
    concrete,
    count,
    normalised,
    ravel,
    tree_map,
    unravel,
    where,
    zeros_like,
)


@dataclass(frozen=True)
class SSAM(EffectiveGradient):
    """g~(x) = g(x + rho u(g) M), M = 1 on the share 1 - sparsity of entries with the largest Fisher information and 0 elsewhere:
    the sum over all samples of their squared gradients (arXiv:2210.05177). The norm is of the whole g.

    M is found at the first step, and again every `refresh` steps.

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.SSAM(rho=1.0, sparsity=0.5), 0.1)
    >>> wb.run(rows, rule, start=start, steps=1).parameters
    tensor([2.8500, 3.7600])
    """

    rho: HyperParameter
    sparsity: float = 0.5
    refresh: int | None = None
    name = "ssam"
    cost = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("sparsity", self.sparsity, lower=0.0, upper=1.0, open_upper=True)
        if self.refresh is not None:
            require_count("refresh", self.refresh)

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Parameters]:
        mask = self._refreshed(oracle, parameters, memory)
        ascent = tree_map(torch.mul, normalised(oracle.gradient(parameters)), mask)
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent)), mask

    def _refreshed(self, oracle: Oracle, parameters: Parameters, mask: Parameters) -> Parameters:
        due = oracle.step == 0 if self.refresh is None else oracle.step % self.refresh == 0
        known = concrete(due) if due.dim() == 0 else None
        # All samples' gradients cost much more than a step: not taken where they are not due (such steps are not traced).
        if known is not None and not known:
            return mask
        return where(due, self._mask(oracle, parameters), mask)

    def _mask(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        each = oracle.full.groups(1).gradients(parameters)
        fisher = ravel(tree_map(lambda g: (g * g).sum(0), each))
        kept = max(1, count(parameters) - math.floor(self.sparsity * count(parameters)))
        order = torch.argsort(fisher, descending=True, stable=True)
        chosen = torch.zeros_like(fisher).scatter(0, order[:kept], torch.ones_like(fisher))
        return unravel(chosen, parameters)


@listed(
    Row(
        paper="2210.05177",
        equation="g(x + ρu(g)⊙M), M = 1 on the largest Σ_i g_i²",
        cost="2 (and n/b at a refresh)",
        asks="every sample's gradient",
        code=(
            "Mi-Peng/Sparse-Sharpness-Aware-Minimization: Fisher from batches of 1, M = 0 before the first "
            "refresh (step 1 is SGD), refreshed after the step"
        ),
        quadratics="axis in M: as SAM; else p = λ",
        invariance="L",
    )
)
def ssam(
    step_size: HyperParameter,
    rho: HyperParameter,
    sparsity: float = 0.5,
    refresh: int | None = None,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Sparse SAM with Fisher masks (see `SSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> wb.run(rows, wb.optimizers.ssam(1.0, rho=1.0, sparsity=0.0), start=start, steps=1).parameters
    tensor([1.2000, 1.6000])
    """
    return around(SSAM(rho, sparsity, refresh), step_size, beta, momentum)
