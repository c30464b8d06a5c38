"""Momentum-SAM: the ascent is against the velocity, so that a step costs one gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import TwoCycle, number, positive, reach, spectral_radius
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Rule
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, normalised, zeros_like


@dataclass(frozen=True, repr=False)
class MomentumSAM(Rule):
    """v <- mu v + g(x - rho u(v)), x <- x - step_size v (arXiv:2401.12033). The state is v; records are of x, and of the
    displaced x - rho u(v), which the public code stores, under "displaced".

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.MomentumSAM(0.1, rho=1.0)
    >>> wb.run(valley, rule, start=start, steps=2).parameters  # 2.7 - 0.1 (0.9 * 3 + 1.7)
    tensor([2.2600], dtype=torch.float64)
    """

    step_size: HyperParameter
    rho: HyperParameter
    mu: HyperParameter = 0.9

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("rho", self.rho, lower=0.0)
        refuse_outside("mu", self.mu, lower=0.0, upper=1.0, open_upper=True)

    @property
    def name(self) -> str:
        return "momentum_sam"

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Parameters]:
        displaced = add_scaled(parameters, -at(self.rho, oracle.step), normalised(state))
        velocity = add_scaled(oracle.gradient(displaced), at(self.mu, oracle.step), state)
        return add_scaled(parameters, -at(self.step_size, oracle.step), velocity), velocity

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)

    def points(self, parameters: Parameters, state: Any) -> dict[str, Parameters]:
        """With a schedule of rho, its value at the start."""
        return {
            "displaced": add_scaled(parameters, -at(self.rho, torch.zeros((), dtype=torch.int64)), normalised(state))
        }

    def two_cycle(self, eigenvalue: float) -> TwoCycle:
        """SAM's with heavy ball: while alternating, -u(v) points uphill."""
        alpha, mu, rho = number("step_size", self.step_size), number("mu", self.mu), number("rho", self.rho)
        curvature = positive(eigenvalue)
        amplitude = reach(self.name, 2 * (1 + mu) / alpha, curvature, curvature * rho)
        velocity = 2 * amplitude / alpha

        def radius(other: float, push: float) -> float:
            return spectral_radius([[1 - alpha * other, -alpha * (mu - push)], [other, mu - push]])

        return TwoCycle(amplitude, radius(curvature, 0.0), lambda other: radius(other, other * rho / velocity))


@listed(
    Row(
        paper="2401.12033",
        equation="v ← μv + g(x − ρu(v)); x −= αv",
        cost="1",
        asks="memory",
        code="MarlonBecker/MSAM: stores x − ρu(v), undo it before evaluating; weight decay uses the displaced x",
        quadratics="X = aρ/(2(1+μ)−a), as SAM with heavy ball",
        invariance="R, L",
    )
)
def momentum_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    mu: HyperParameter = 0.9,
) -> MomentumSAM:
    """Momentum-SAM (see `MomentumSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.momentum_sam(0.5, rho=0.1, mu=0.5), 2.0).amplitude, 6)
    0.05
    """
    return MomentumSAM(step_size, rho, mu)
