"""AE-SAM: SAM at the steps whose gradient is large for its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, inner, leaves, normalised, where


class SquaredNorms(NamedTuple):
    """Running mean and variance of |g|^2."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class AESAM(EffectiveGradient):
    """g~ = gs where |g|^2 >= mu + c_t sigma, else g; mu and sigma^2 running means of |g|^2 and (|g|^2 - mu)^2 with weight
    delta on the old, c_t = (t/T) lam1 + (1 - t/T) lam2 over `horizon` T steps (arXiv:2304.14647). Starts at mu = 0, sigma^2 = 1.

    Here every step takes both gradients; how often SAM is due depends on the run, so `cost` is the most.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.AESAM(rho=5.0, horizon=100), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # |g|^2 = 25 is due for SAM
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    horizon: int
    delta: HyperParameter = 0.9
    lam1: HyperParameter = -1.0
    lam2: HyperParameter = 1.0
    name = "ae_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("horizon", self.horizon)
        refuse_outside("delta", self.delta, lower=0.0, upper=1.0, open_upper=True)
        refuse_outside("lam1", self.lam1)
        refuse_outside("lam2", self.lam2)

    def init(self, parameters: Parameters) -> SquaredNorms:
        zero = leaves(parameters)[0].new_zeros(())
        return SquaredNorms(zero, torch.ones_like(zero))

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, SquaredNorms]:
        gradient, delta = oracle.gradient(parameters), at(self.delta, oracle.step)
        done = oracle.step.to(torch.float64) / self.horizon
        square = inner(gradient, gradient)
        mean = delta * memory.mean + (1 - delta) * square
        variance = delta * memory.variance + (1 - delta) * (square - mean) ** 2
        level = done * at(self.lam1, oracle.step) + (1 - done) * at(self.lam2, oracle.step)
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(gradient)))
        due = square >= mean + level * variance.sqrt()
        return where(due, displaced, gradient), SquaredNorms(mean.to(square.dtype), variance.to(square.dtype))


@listed(
    Row(
        paper="2304.14647",
        equation="gs if |g|² ≥ μ + c_tσ, else g; μ, σ² running means, c_t = (t/T)λ₁ + (1−t/T)λ₂",
        cost="1 to 2",
        asks="memory, the number of steps",
        code="none read; the start μ = 0, σ² = 1 is ours",
        quadratics="switches",
        invariance="R",
        mark="abstract",
    )
)
def ae_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    horizon: int,
    delta: HyperParameter = 0.9,
    lam1: HyperParameter = -1.0,
    lam2: HyperParameter = 1.0,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """AE-SAM (see `AESAM`).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.ae_sam(0.1, rho=5.0, horizon=100, lam2=4.0)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # is not
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """
    return around(AESAM(rho, horizon, delta, lam1, lam2), step_size, beta, momentum)
