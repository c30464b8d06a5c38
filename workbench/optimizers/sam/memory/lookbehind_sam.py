"""Lookbehind-SAM: several ascents, their descents averaged with the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.cycles import TwoCycle, number, positive, reach
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Rule
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, normalised, subtract


@dataclass(frozen=True, repr=False)
class LookbehindSAM(Rule):
    """From y = f = x, k times: y <- y + rho u(g(y)), f <- f - step_size g(y); then x <- x + slow (f - x) (arXiv:2307.16704).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.LookbehindSAM(0.1, rho=1.0)
    >>> wb.run(valley, rule, start=start, steps=1).parameters  # 3 - (0.4 + 0.5)/2
    tensor([2.5500], dtype=torch.float64)
    """

    step_size: HyperParameter
    rho: HyperParameter
    k: int = 2
    slow: HyperParameter = 0.5

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("rho", self.rho, lower=0.0)
        require_count("k", self.k)
        refuse_outside("slow", self.slow, lower=0.0, upper=1.0, open_lower=True)

    @property
    def name(self) -> str:
        return "lookbehind_sam"

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        step_size, rho = at(self.step_size, oracle.step), at(self.rho, oracle.step)
        ascending = fast = parameters
        for _ in range(self.k):
            ascending = add_scaled(ascending, rho, normalised(oracle.gradient(ascending)))
            fast = add_scaled(fast, -step_size, oracle.gradient(ascending))
        return add_scaled(parameters, at(self.slow, oracle.step), subtract(fast, parameters)), state

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)

    def two_cycle(self, eigenvalue: float) -> TwoCycle:
        rho, step = number("rho", self.rho), number("slow", self.slow) * number("step_size", self.step_size)
        curvature = positive(eigenvalue)
        push = curvature * rho * self.k * (self.k + 1) / 2
        amplitude = reach(self.name, 2 / step, self.k * curvature, push)

        def across(other: float) -> float:
            stretched, total = 1.0, 0.0
            for ascents in range(self.k):
                stretched *= 1 + rho * other / (curvature * (amplitude + ascents * rho))
                total += other * stretched
            return 1 - step * total

        return TwoCycle(amplitude, 1 - step * self.k * curvature, across)


@listed(
    Row(
        paper="2307.16704",
        equation="k times y ← y + ρu(g(y)), f ← f − αg(y); x += η(f − x)",
        cost="2k",
        code="repository seen, the step from a summary",
        quadratics="X = ηaρk(k+1)/2/(2−ηak), radial factor 1 − ηak",
        invariance="R, L",
        mark="abstract",
    )
)
def lookbehind_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    k: int = 2,
    slow: HyperParameter = 0.5,
) -> LookbehindSAM:
    """Lookbehind-SAM (see `LookbehindSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.lookbehind_sam(0.5, rho=0.2), 2.0).amplitude, 6)
    0.3
    """
    return LookbehindSAM(step_size, rho, k, slow)
