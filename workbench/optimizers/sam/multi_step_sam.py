"""SAM with several ascent steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, norm, normalised, subtract


@dataclass(frozen=True)
class MultiStepSAM(EffectiveGradient):
    """SAM with several ascent steps: `ascent_steps` normalised steps of length `step_fraction` rho, each followed by
    projection on the ball of radius rho around x; g~ is the gradient at the end (arXiv:2206.06232, the public code).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.MultiStepSAM(rho=5.0, ascent_steps=3), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    ascent_steps: int
    step_fraction: float = 1.0
    name = "multi_step_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("ascent_steps", self.ascent_steps)
        refuse_outside("step_fraction", self.step_fraction, lower=0.0, open_lower=True)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho, point = at(self.rho, oracle.step), parameters
        for _ in range(self.ascent_steps):
            point = add_scaled(point, self.step_fraction * rho, normalised(oracle.gradient(point)))
            displacement = subtract(point, parameters)
            length = norm(displacement)
            shrink = torch.where(length > rho, rho / torch.where(length > rho, length, torch.ones_like(length)), 1.0)
            point = add_scaled(parameters, shrink, displacement)
        return oracle.gradient(point)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        reached = number("rho", self.rho) * min(1.0, self.ascent_steps * self.step_fraction)
        return alternating(self.name, bound, eigenvalue, eigenvalue * reached)


@listed(
    Row(
        paper="2206.06232",
        equation="n projected ascent steps in the ball of radius ρ; g at their end",
        cost="n + 1",
        quadratics="X as SAM",
        invariance="R, L",
    )
)
def multi_step_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    ascent_steps: int,
    step_fraction: float = 1.0,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """SAM with projected inner ascent of several steps (see `MultiStepSAM`).

    >>> import workbench as wb
    >>> rule = wb.optimizers.multi_step_sam(0.5, rho=0.1, ascent_steps=2, step_fraction=0.25)
    >>> round(wb.optimizers.two_cycle(rule, 2.0).amplitude, 6)
    0.05
    """
    return around(MultiStepSAM(rho, ascent_steps, step_fraction), step_size, beta, momentum)
