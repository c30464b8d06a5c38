"""LookSAM: SAM at every k-th step, the part of it beside the gradient reused in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, inner, norm, normalised, where, zeros_like


@dataclass(frozen=True)
class LookSAM(EffectiveGradient):
    """At steps t = 0, k, 2k, ...: g~ = gs and v = gs - <gs, u(g)> u(g), gs = g(x + rho u(g)); in between g~ = g + kappa |g| u(v)
    (arXiv:2203.02714; kappa is its alpha).

    Here every step takes both gradients, and keeps one of them: a step is the same computation at all times.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.around(wb.optimizers.LookSAM(rho=5.0), 0.1), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    k: int = 2
    kappa: HyperParameter = 0.7
    name = "look_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("k", self.k)
        refuse_outside("kappa", self.kappa, lower=0.0)

    @property
    def cost(self) -> float:  # type: ignore[override]
        return 1 + 1 / self.k

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Parameters]:
        gradient, looks = oracle.gradient(parameters), oracle.step % self.k == 0
        along = normalised(gradient)
        displaced = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), along))
        beside = where(looks, add_scaled(displaced, -inner(displaced, along), along), memory)
        reused = add_scaled(gradient, at(self.kappa, oracle.step) * norm(gradient), normalised(beside))
        return where(looks, displaced, reused), beside

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        """Of the period 2k, at the SAM step: `slope` is that of k steps as one; for a = step_size eigenvalue < 1."""
        step_size, rho = 2 / bound, number("rho", self.rho)
        a = step_size * eigenvalue
        if a >= 1:
            raise ValueError(f"{self.name} has a closed form for step_size * eigenvalue < 1, got {a:g}")
        shrunk = (1 - a) ** (self.k - 1)
        # x <- shrunk ((1 - a) x - a rho) takes X to -X.
        return alternating(self.name, bound, (1 - shrunk * (1 - a)) / step_size, shrunk * eigenvalue * rho)


@listed(
    Row(
        paper="2203.02714",
        equation="t mod k = 0: gs, v = gs − ⟨gs,u(g)⟩u(g); else g + κ|g|u(v)",
        cost="1 + 1/k",
        asks="memory",
        code="none by the authors: rollovd/LookSAM per tensor, MarlonBecker/MSAM's copy global, as here",
        quadratics="axis, a < 1: X = (1−a)^(k−1) aρ/(1+(1−a)^k) at the SAM step",
        invariance="R, L",
    )
)
def look_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    k: int = 2,
    kappa: HyperParameter = 0.7,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """LookSAM (see `LookSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.look_sam(0.25, rho=0.5), 2.0).amplitude, 6)
    0.1
    """
    return around(LookSAM(rho, k, kappa), step_size, beta, momentum)
