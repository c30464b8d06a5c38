"""An update rule: a momentum scheme around an effective gradient, as a pair of pure functions.

`rule.init(parameters) -> state` and `rule.step(oracle, parameters, state) -> (parameters, state)`. The effective gradient
g~ is what the rule follows instead of the gradient g: g itself, or the gradient at a displaced point (the SAM family).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, concrete, leaves, zeros_like

Momentum = Literal["none", "heavy_ball", "nesterov"]


@runtime_checkable
class Oracle(Protocol):
    """What a rule may ask about the loss at one step. The minibatch of the step is fixed by whoever runs the rule."""

    @property
    def count(self) -> Int[Tensor, ""]:
        """Steps taken so far."""
        ...

    def gradient(self, parameters: Parameters) -> Parameters:
        """Gradient of the minibatch loss."""
        ...

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        """Hessian of the minibatch loss times a vector."""
        ...

    def full_gradient(self, parameters: Parameters) -> Parameters:
        """Gradient of the loss over all samples."""
        ...

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        """Gradient of the previous step's minibatch loss (of this step's at the first one)."""
        ...

    def random_direction(self, parameters: Parameters) -> Parameters:
        """Standard normal entries, fresh at every step."""
        ...

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        """Gradients of the minibatch's consecutive groups of `size` samples; leading dimension group."""
        ...

    def group_gradients_at(self, parameters: Parameters, size: int) -> Parameters:
        """The same, each group at its own parameters (leading dimension group)."""
        ...


@runtime_checkable
class EffectiveGradient(Protocol):
    """The field g~ that a rule follows. Vanishes where the gradient does."""

    @property
    def name(self) -> str: ...

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters: ...


@dataclass(frozen=True)
class Plain:
    """g~ = g, the minibatch gradient."""

    name = "gd"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        return oracle.gradient(parameters)


@runtime_checkable
class UpdateRule(Protocol):
    """What `wb.run` drives: `Rule`, `Adam`, or either with averages of its iterates. States have a `count`."""

    @property
    def gradient(self) -> EffectiveGradient: ...

    @property
    def step_size(self) -> HyperParameter: ...

    def init(self, parameters: Parameters) -> Any: ...

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]: ...


class State(NamedTuple):
    """What a rule carries from step to step: the number of steps taken, and the velocity v where there is momentum."""

    count: Int[Tensor, ""]
    velocity: Parameters | None


@dataclass(frozen=True, repr=False)
class Rule:
    """x+ = x - alpha g~(x), with heavy-ball or Nesterov momentum beta.

    With the velocity v (zero at the start):
      none        x+ = x - alpha g~(x)
      heavy_ball  v+ = beta v + g~(x),                   x+ = x - alpha v+
      nesterov    y = x - alpha beta v, v+ = beta v + g~(y),  x+ = x - alpha v+
    For a constant step size these are x+ = x + beta (x - x_prev) - alpha g~(x), and the same with g~ and the step taken
    at y = x + beta (x - x_prev). When the step size changes, v is kept (as in torch.optim.SGD), not x - x_prev.
    """

    gradient: EffectiveGradient
    step_size: HyperParameter
    momentum: Momentum = "none"
    beta: HyperParameter = 0.0

    def __post_init__(self) -> None:
        if self.momentum not in get_args(Momentum):
            raise ValueError(f"momentum must be one of {', '.join(get_args(Momentum))}, got {self.momentum!r}")
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("beta", self.beta, lower=0.0, upper=1.0, open_upper=True)

    @property
    def name(self) -> str:
        """The effective gradient's name and the momentum's, e.g. "usam+heavy_ball"."""
        return self.gradient.name if self.momentum == "none" else f"{self.gradient.name}+{self.momentum}"

    def __repr__(self) -> str:
        values = {"step_size": self.step_size} | ({} if self.momentum == "none" else {"beta": self.beta})
        values |= {name: value for name, value in vars(self.gradient).items() if value is not None}
        return f"{self.name}({', '.join(f'{name}={_short(value)}' for name, value in values.items())})"

    def _repr_html_(self) -> str:
        from workbench.optimizers.rendering import rule_html

        return rule_html(self)

    def init(self, parameters: Parameters) -> State:
        """The state before the first step."""
        count = torch.zeros((), dtype=torch.int64, device=leaves(parameters)[0].device)
        return State(count, None if self.momentum == "none" else zeros_like(parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: State) -> tuple[Parameters, State]:
        """One update."""
        step_size = at(self.step_size, state.count)
        if state.velocity is None:
            direction = self.gradient(oracle, parameters)
            return add_scaled(parameters, -step_size, direction), State(state.count + 1, None)
        beta, point = at(self.beta, state.count), parameters
        if self.momentum == "nesterov":
            point = add_scaled(parameters, -step_size * beta, state.velocity)
        velocity = add_scaled(self.gradient(oracle, point), beta, state.velocity)
        return add_scaled(parameters, -step_size, velocity), State(state.count + 1, velocity)


def refuse_outside(
    name: str,
    value: object,
    *,
    lower: float = -math.inf,
    upper: float = math.inf,
    open_lower: bool = False,
    open_upper: bool = False,
) -> None:
    """Raise ValueError when a plain number lies outside its range (tensors and schedules are taken as they are)."""
    if isinstance(value, Tensor) or callable(value):
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, a 0-dim tensor or a schedule, got {value!r}")
    above = value > lower if open_lower else value >= lower
    below = value < upper if open_upper else value <= upper
    if not (math.isfinite(value) and above and below):
        left = f"{'(' if open_lower or lower == -math.inf else '['}{lower:g}"
        right = f"{upper:g}{')' if open_upper or upper == math.inf else ']'}"
        raise ValueError(f"{name} must be a finite number in {left}, {right}, got {value!r}")


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        number = concrete(value)
        return "<one value per run>" if number is None else f"{number:.6g}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def gradient_descent(step_size: HyperParameter) -> Rule:
    """x+ = x - step_size g(x). With minibatches this is SGD."""
    return Rule(Plain(), step_size)


def heavy_ball(step_size: HyperParameter, beta: HyperParameter, gradient: EffectiveGradient | None = None) -> Rule:
    """Polyak's heavy ball x+ = x + beta (x - x_prev) - step_size g~(x), around any effective gradient."""
    return Rule(gradient or Plain(), step_size, "heavy_ball", beta)


def nesterov(step_size: HyperParameter, beta: HyperParameter, gradient: EffectiveGradient | None = None) -> Rule:
    """Nesterov's y = x + beta (x - x_prev), x+ = y - step_size g~(y), around any effective gradient."""
    return Rule(gradient or Plain(), step_size, "nesterov", beta)
