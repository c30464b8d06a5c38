"""bSAM: SAM as variational Bayes, with a variance for every weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from workbench.checks import refuse_outside, require_positive
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Filter, Rule, constant
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, tree_map, zeros_like


class BSAMState(NamedTuple):
    """The running mean of the direction, and the precision of every weight."""

    mean: Parameters
    precision: Parameters


@dataclass(frozen=True, repr=False)
class BSAM(Rule):
    """g at x + normal/sqrt(N s), gs at x + rho g/s; m <- beta1 m + (1 - beta1)(gs + delta x), x <- x - step_size m/s,
    s <- beta2 s + (1 - beta2)(sqrt(s) |g| + damping + delta), delta the weight decay (arXiv:2210.01620, Alg. 1).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.BSAM(0.1, rho=1.0, samples=float('inf'), weight_decay=0.0, beta1=0.0)
    >>> wb.run(valley, rule, start=start, steps=1).parameters
    tensor([2.4000], dtype=torch.float64)
    """

    step_size: HyperParameter
    rho: HyperParameter
    samples: float = 100.0
    weight_decay: HyperParameter = 0.01
    damping: HyperParameter = 0.1
    beta1: HyperParameter = 0.9
    beta2: HyperParameter = 0.99
    start: float = 1.0

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("rho", self.rho, lower=0.0)
        refuse_outside("weight_decay", self.weight_decay, lower=0.0)
        refuse_outside("damping", self.damping, lower=0.0, open_lower=True)
        refuse_outside("beta1", self.beta1, lower=0.0, upper=1.0, open_upper=True)
        refuse_outside("beta2", self.beta2, lower=0.0, upper=1.0, open_upper=True)
        require_positive("start", self.start)
        if not self.samples > 0:
            raise ValueError(f"samples must be a number > 0 (inf for no noise), got {self.samples!r}")

    @property
    def name(self) -> str:
        return "bsam"

    def init(self, parameters: Parameters) -> BSAMState:
        return BSAMState(zeros_like(parameters), tree_map(lambda leaf: torch.full_like(leaf, self.start), parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, BSAMState]:
        beta1, beta2 = at(self.beta1, oracle.step), at(self.beta2, oracle.step)
        decay, damping = at(self.weight_decay, oracle.step), at(self.damping, oracle.step)
        step_size, rho = at(self.step_size, oracle.step), at(self.rho, oracle.step)
        gradient = oracle.gradient(self._perturbed(oracle, parameters, state.precision))
        displaced = oracle.gradient(tree_map(lambda x, g, s: x + rho * g / s, parameters, gradient, state.precision))

        def drift(m: torch.Tensor, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return beta1 * m + (1 - beta1) * (g + decay * x)

        def sharpen(s: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            return beta2 * s + (1 - beta2) * (s.sqrt() * g.abs() + damping + decay)

        mean = tree_map(drift, state.mean, displaced, parameters)
        moved = tree_map(lambda x, m, s: x - step_size * m / s, parameters, mean, state.precision)
        return moved, BSAMState(mean, tree_map(sharpen, state.precision, gradient))

    def _perturbed(self, oracle: Oracle, parameters: Parameters, precision: Parameters) -> Parameters:
        if self.samples == math.inf:
            return parameters
        noise = oracle.normal("weights", parameters)
        return tree_map(lambda x, z, s: x + z / (self.samples * s).sqrt(), parameters, noise, precision)

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)

    def filter(self) -> Filter:
        """Without noise (samples = inf), at s* = damping + weight decay: p = (lambda (1 + rho lambda/s*) + delta)/s*."""
        decay, rho, beta1 = (
            constant("weight_decay", self.weight_decay),
            constant("rho", self.rho),
            constant("beta1", self.beta1),
        )
        settled = constant("damping", self.damping) + decay
        bound = 2 * (1 + beta1) / (1 - beta1)
        return Filter((decay / settled, 1 / settled, rho / settled**2), bound, constant("step_size", self.step_size))


@listed(
    Row(
        paper="2210.01620",
        equation=(
            "g at x + normal/√(Ns); gs at x + ρg/s; m ← β₁m + (1−β₁)(gs + δx); x −= αm/s; s ← β₂s + "
            "(1−β₂)(√s|g| + γ + δ)"
        ),
        cost="2",
        asks="normal, memory",
        code="team-approx-bayes/bayesian-sam: agrees; s used before its update; noise per group",
        quadratics="N → ∞, s* = γ+δ: p = (λ(1+ρλ/s*)+δ)/s*, set 0 ≤ p ≤ 2(1+β₁)/(α(1−β₁))",
        invariance="",
    )
)
def bsam(
    step_size: HyperParameter,
    rho: HyperParameter,
    samples: float = 100.0,
    weight_decay: HyperParameter = 0.01,
    damping: HyperParameter = 0.1,
    beta1: HyperParameter = 0.9,
    beta2: HyperParameter = 0.99,
    start: float = 1.0,
) -> BSAM:
    """bSAM (see `BSAM`); samples is N, the number of training samples, start the first precision.

    >>> import workbench as wb
    >>> rule = wb.optimizers.bsam(0.5, rho=0.5, samples=float('inf'), weight_decay=0.0, damping=1.0, beta1=0.0)
    >>> wb.optimizers.admissible_set(rule)  # USAM's
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    return BSAM(step_size, rho, samples, weight_decay, damping, beta1, beta2, start)
