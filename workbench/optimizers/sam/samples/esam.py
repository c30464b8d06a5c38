"""ESAM: an ascent of some tensors, a step with the samples whose loss rose most."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.draws.kinds import Uniform
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.sam.samples.k_sam import largest_first
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class ESAM(EffectiveGradient):
    """g~(x) = g_S(y), y = x + (rho/keep) u(g on kept tensors): each tensor is kept with probability `keep`, and S is the share
    `gamma` of the minibatch whose loss rose most from x to y (arXiv:2110.03141; keep is its beta).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.ESAM(rho=1.0, keep=1.0), 0.1)
    >>> wb.run(rows, rule, start=start, steps=1).parameters  # the second row rises more
    tensor([3.0000, 3.5200])
    """

    rho: HyperParameter
    keep: HyperParameter = 0.6
    gamma: float = 0.5
    name = "esam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("keep", self.keep, lower=0.0, upper=1.0, open_lower=True)
        refuse_outside("gamma", self.gamma, lower=0.0, upper=1.0, open_lower=True)

    @property
    def cost(self) -> float:  # type: ignore[override]
        """A gradient, whose forward pass gives the losses at x, the losses at y, a gradient of the share."""
        return 4 / 3 + self.gamma

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        keep, tensors = at(self.keep, oracle.step), oracle.tensors(oracle.gradient(parameters))
        coins = oracle.draw(Uniform("tensors", (len(tensors),)))
        parts = zip(coins.unbind(), tensors.items(), strict=True)
        kept = {name: (coin < keep).to(part.dtype).to(part.device) * part for coin, (name, part) in parts}
        displaced = add_scaled(parameters, at(self.rho, oracle.step) / keep, normalised(oracle.joined(kept)))
        samples = oracle.groups(1)
        rise = samples.losses(displaced) - samples.losses(parameters)
        share = max(1, math.floor(self.gamma * rise.shape[0] + 1e-9))
        return oracle.chosen(largest_first(rise, share, "gamma")).gradient(displaced)


@listed(
    Row(
        paper="2110.03141",
        equation=(
            "keep each tensor with probability β; y = x + (ρ/β)u(kept g); g of the γb samples whose loss rose most"
        ),
        cost="4/3 + γ",
        asks="uniform, single samples' losses",
        code=(
            "dydjw9/Efficient_SAM: the coins hold for the next step; keeps rises above the k-th, so k − 1 "
            "samples; all if γ ≥ .99"
        ),
        quadratics="axis kept: as SAM with ρ/β",
        invariance="",
    )
)
def esam(
    step_size: HyperParameter,
    rho: HyperParameter,
    keep: HyperParameter = 0.6,
    gamma: float = 0.5,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """ESAM (see `ESAM`).

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> wb.run(rows, wb.optimizers.esam(1.0, rho=1.0, keep=1.0, gamma=1.0), start=start, steps=1).parameters
    tensor([1.2000, 1.6000])
    """
    return around(ESAM(rho, keep, gamma), step_size, beta, momentum)
