"""SAMPa: two gradients at once, one of them of the samples before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import TwoCycle
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Filter, Rule, constant
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, normalised, tree_map, zeros_like


@dataclass(frozen=True, repr=False)
class SAMPa(Rule):
    """h <- g(x - step_size h) =: new, x <- x - step_size ((1 - lam) g_prev(x + rho u(h_old)) + lam new), g_prev of the samples of
    the step before (or the same, where every step sees the same); the first step is gradient descent (arXiv:2410.10683, Alg. 1).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.SAMPa(0.1, rho=5.0)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # the first step is gradient descent
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """

    step_size: HyperParameter
    rho: HyperParameter
    lam: HyperParameter = 0.2

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("rho", self.rho, lower=0.0)
        refuse_outside("lam", self.lam, lower=0.0, upper=1.0)

    @property
    def name(self) -> str:
        return "sampa"

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Parameters]:
        step_size, lam = at(self.step_size, oracle.step), at(self.lam, oracle.step)
        new = oracle.gradient(add_scaled(parameters, -step_size, state))
        ascent = add_scaled(parameters, at(self.rho, oracle.step), normalised(state))
        old = oracle.previous_or_same.gradient(ascent)
        direction = tree_map(lambda o, n: (1 - lam) * o + lam * n, old, new)
        return add_scaled(parameters, -step_size, direction), new

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)

    def filter(self) -> Filter:
        """step_size lambda <= (3 - sqrt(1 + 8 lam))/(2 (1 - lam)): the two-term recursion of x and h far from the minimum."""
        lam = constant("lam", self.lam)
        return Filter((0.0, 1.0), 4 / (3 + (1 + 8 * lam) ** 0.5), constant("step_size", self.step_size))

    def two_cycle(self, eigenvalue: float) -> TwoCycle:
        raise ValueError(
            "sampa has no 2-cycle: its ascent is yesterday's and points downhill; its bound is admissible_set's"
        )


@listed(
    Row(
        paper="2410.10683",
        equation="new = g(x − αh); d = (1−λ)g_prev(x + ρu(h)) + λ new; h ← new",
        cost="2",
        asks="the previous step's samples, memory",
        code="LIONS-EPFL/SAMPa: this; with momentum the point looks ahead by α(h + weight decay·x + μ·buffer)",
        quadratics="set a ≤ (3 − √(1+8λ))/(2(1−λ)); no 2-cycle for a < 1",
        invariance="R, L",
    )
)
def sampa(
    step_size: HyperParameter,
    rho: HyperParameter,
    lam: HyperParameter = 0.2,
) -> SAMPa:
    """SAMPa (see `SAMPa`).

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.sampa(0.5, rho=0.1, lam=1.0)), 4)
    1.3333
    """
    return SAMPa(step_size, rho, lam)
