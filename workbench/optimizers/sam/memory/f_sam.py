"""F-SAM: an ascent along the gradient without its running mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, tree_map, where, zeros_like


@dataclass(frozen=True)
class FSAM(EffectiveGradient):
    """g~(x) = g(x + rho u(g - sigma m)), m <- lam m + (1 - lam) g from 0 (arXiv:2403.12350).

    form "code" is the public code's: m of the step before in its place, the first gradient at the start, where the ascent is
    along g. With sigma = 1 both have the same direction for the same m, but their m differ for ever.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.around(wb.optimizers.FSAM(rho=5.0), 0.1), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    sigma: HyperParameter = 1.0
    lam: HyperParameter = 0.6
    form: Literal["paper", "code"] = "paper"
    name = "f_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("sigma", self.sigma)
        refuse_outside("lam", self.lam, lower=0.0, upper=1.0, open_upper=True)
        if self.form not in ("paper", "code"):
            raise ValueError(f"form must be 'paper' or 'code', got {self.form!r}")

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Parameters]:
        gradient, lam = oracle.gradient(parameters), at(self.lam, oracle.step)
        mean = tree_map(lambda m, g: lam * m + (1 - lam) * g, memory, gradient)
        if self.form == "code":
            mean = where(oracle.step == 0, gradient, mean)
        ascent = add_scaled(gradient, -at(self.sigma, oracle.step), mean if self.form == "paper" else memory)
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(ascent))), mean

    def _gain(self) -> float:
        """Of the ascent's direction over the gradient while both alternate."""
        sigma, lam = number("sigma", self.sigma), number("lam", self.lam)
        return 1 - (1 if self.form == "paper" else -1) * sigma * (1 - lam) / (1 + lam)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        if self._gain() <= 0:
            raise ValueError(
                f"{self.name} has no 2-cycle with sigma (1 - lam)/(1 + lam) >= 1: its ascent points downhill"
            )
        return alternating(self.name, bound, eigenvalue, eigenvalue * number("rho", self.rho))

    def transverse(self, other: float, eigenvalue: float, amplitude: float, step_size: float) -> list[list[float]]:
        """One step of (x_j, m_j)."""
        rho, sigma, lam = number("rho", self.rho), number("sigma", self.sigma), number("lam", self.lam)
        push = step_size * other * rho / (self._gain() * eigenvalue * amplitude)
        new, old = (sigma * (1 - lam), sigma * lam) if self.form == "paper" else (0.0, sigma)
        return [[1 - step_size * other - push * other * (1 - new), push * old], [(1 - lam) * other, lam]]


@listed(
    Row(
        paper="2403.12350",
        equation="m ← λm + (1−λ)g from 0; g(x + ρu(g − σm))",
        cost="2",
        asks="memory",
        code="nblt/F-SAM: g − σm of the step before, m₀ = g₀, plain g at step 0 (form=code): 2e-3 off after 4 steps",
        quadratics="X as SAM where σ(1−λ)/(1+λ) < 1; attracts along the top axis alone",
        invariance="R, L",
    )
)
def f_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    sigma: HyperParameter = 1.0,
    lam: HyperParameter = 0.6,
    form: Literal["paper", "code"] = "paper",
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """F-SAM (see `FSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.f_sam(0.5, rho=0.1), 2.0).amplitude, 6)
    0.1
    """
    return around(FSAM(rho, sigma, lam, form), step_size, beta, momentum)
