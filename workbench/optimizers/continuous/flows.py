"""Gradient flows x' = -g~(x) with a fixed time step dt, as rules: a step takes the time dt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from workbench.checks import refuse_outside
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, Plain, Rule
from workbench.parameters import Parameters, Scalar, add_scaled


@dataclass(frozen=True, repr=False)
class Euler(Rule):
    """x+ = x - dt g~(x): first order in dt.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.Euler(dt=1.0), start=start, steps=1).parameters  # 3 (1 - dt)
    tensor([0.], dtype=torch.float64)
    """

    dt: Scalar
    gradient: EffectiveGradient = field(default_factory=Plain)

    def __post_init__(self) -> None:
        refuse_outside("dt", self.dt, lower=0.0, open_lower=True)
        if type(self.gradient).advance is not EffectiveGradient.advance:
            raise ValueError(
                f"gradient must be a function of the parameters alone for a flow, got {self.gradient.name}, which remembers "
                "earlier steps; use descent or heavy ball"
            )

    def duration(self, oracle: Oracle) -> Scalar:
        return self.dt

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        return add_scaled(parameters, -self.dt, self.gradient(oracle, parameters)), state


@dataclass(frozen=True, repr=False)
class Heun(Euler):
    """k1 = g~(x), k2 = g~(x - dt k1), x+ = x - dt (k1 + k2)/2: second order.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.Heun(dt=1.0), start=start, steps=1).parameters  # 3 (1 - dt + dt^2/2)
    tensor([1.5000], dtype=torch.float64)
    """

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        first = self.gradient(oracle, parameters)
        second = self.gradient(oracle, add_scaled(parameters, -self.dt, first))
        return add_scaled(parameters, -self.dt / 2, add_scaled(first, 1.0, second)), state


@dataclass(frozen=True, repr=False)
class RK4(Euler):
    """The classical Runge-Kutta method: fourth order, four gradients.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.RK4(dt=1.0), start=start, steps=1).parameters  # e^-dt to fourth order
    tensor([1.1250], dtype=torch.float64)
    """

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        slopes = [self.gradient(oracle, parameters)]
        for share in (0.5, 0.5, 1.0):
            slopes.append(self.gradient(oracle, add_scaled(parameters, -share * self.dt, slopes[-1])))
        moved = parameters
        for weight, slope in zip((1, 2, 2, 1), slopes, strict=True):
            moved = add_scaled(moved, -weight / 6 * self.dt, slope)
        return moved, state
