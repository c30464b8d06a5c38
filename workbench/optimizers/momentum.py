"""The momentum schemes around any effective gradient g~: plain descent, Polyak's heavy ball, Nesterov.

When the step size changes, the velocity is kept (as in torch.optim.SGD), not x - x_prev.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import TwoCycle, number, positive, spectral_radius
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import (
    CONSTRUCTORS,
    EffectiveGradient,
    Filter,
    Plain,
    Remembered,
    Rule,
    advanced,
    constant,
    remembered,
)
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, zeros_like

Momentum = Literal["none", "heavy_ball", "nesterov"]


@dataclass(frozen=True, repr=False)
class Descent(Rule):
    """x+ = x - step_size g~(x).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.Descent(wb.optimizers.Plain(), 0.1), start=start, steps=1).parameters
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """

    gradient: EffectiveGradient
    step_size: HyperParameter

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)

    @property
    def name(self) -> str:
        return self.gradient.name

    @property
    def cost(self) -> float | None:
        return getattr(self.gradient, "cost", None)

    def init(self, parameters: Parameters) -> Any:
        return remembered(self.gradient, parameters)

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        direction, state = advanced(self.gradient, oracle, parameters, state)
        return add_scaled(parameters, -at(self.step_size, oracle.step), direction), state

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)

    def filter(self) -> Filter:
        step_size, denominator = constant("step_size", self.step_size), self.gradient.curvature_denominator()
        return Filter(self.gradient.curvature(), self._constant(), step_size, denominator)

    def two_cycle(self, eigenvalue: float) -> TwoCycle:
        step_size, constant = number("step_size", self.step_size), float(self._constant())
        axis = self.gradient.on_axis(positive(eigenvalue), constant / step_size)
        known = None if axis.across is None else Filter(axis.across, constant, step_size)
        radial = self._factor(step_size * axis.slope)

        def across(other: float) -> float:
            if known is not None:
                return self._factor(step_size * known.polynomial(other))
            step = (
                self.gradient.transverse(other, eigenvalue, axis.amplitude, step_size)
                if type(self) is Descent
                else None
            )
            if step is None:
                raise ValueError(
                    f"the 2-cycle of {self.name} has an amplitude in closed form, but no multiplier along other axes"
                )
            return spectral_radius(step)

        return TwoCycle(axis.amplitude / self._ahead(), radial, across, known)

    def _factor(self, q: float) -> float:
        return 1 - q

    def _ahead(self) -> float:
        """Where the gradient is taken in a 2-cycle, in amplitudes."""
        return 1.0

    def _constant(self) -> Scalar:
        return 2.0

    def radius(self, q: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        """Spectral radius of the update in an eigendirection at a critical point, q = step_size p(lambda): |1 - q|."""
        return np.abs(1 - q)


@dataclass(frozen=True, repr=False)
class HeavyBall(Descent):
    """v+ = beta v + g~(x), x+ = x - step_size v+; for a constant step size x+ = x + beta (x - x_prev) - step_size g~(x).

    The state is the velocity v, zero at the start, beside what the effective gradient remembers.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.HeavyBall(wb.optimizers.Plain(), 0.1, beta=0.5), start=start, steps=2).parameters
    tensor([2.2800], dtype=torch.float64)
    """

    beta: HyperParameter

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("beta", self.beta, lower=0.0, upper=1.0, open_upper=True)

    @property
    def name(self) -> str:
        return f"{self.gradient.name}+heavy_ball"

    def init(self, parameters: Parameters) -> Any:
        return Remembered.of(zeros_like(parameters), remembered(self.gradient, parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        return self._move(oracle, parameters, parameters, state)

    def _move(self, oracle: Oracle, parameters: Parameters, point: Parameters, state: Any) -> tuple[Parameters, Any]:
        velocity, memory = Remembered.parts(state)
        direction, memory = advanced(self.gradient, oracle, point, memory)
        velocity = add_scaled(direction, at(self.beta, oracle.step), velocity)
        moved = add_scaled(parameters, -at(self.step_size, oracle.step), velocity)
        return moved, Remembered.of(velocity, memory)

    def _factor(self, q: float) -> float:
        return float(self.radius(np.asarray(q)))

    def _constant(self) -> Scalar:
        return 2 * (1 + constant("beta", self.beta))

    def radius(self, q: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        """The larger root's modulus of z^2 - (1 + beta - q) z + beta, q = step_size p(lambda)."""
        beta = float(self.beta)  # type: ignore[arg-type]
        return _larger_root(1 + beta - q, beta + 0 * q)


@dataclass(frozen=True, repr=False)
class Nesterov(HeavyBall):
    """y = x - step_size beta v, v+ = beta v + g~(y), x+ = x - step_size v+; for a constant step size y = x + beta (x - x_prev),
    x+ = y - step_size g~(y).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.Nesterov(wb.optimizers.Plain(), 0.1, beta=0.5), start=start, steps=2).parameters
    tensor([2.2950], dtype=torch.float64)
    """

    @property
    def name(self) -> str:
        return f"{self.gradient.name}+nesterov"

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        step_size, beta = at(self.step_size, oracle.step), at(self.beta, oracle.step)
        ahead = add_scaled(parameters, -step_size * beta, Remembered.parts(state)[0])
        return self._move(oracle, parameters, ahead, state)

    def _ahead(self) -> float:
        return 1 + 2 * number("beta", self.beta)

    def _constant(self) -> Scalar:
        beta = constant("beta", self.beta)
        return 2 * (1 + beta) / (1 + 2 * beta)

    def radius(self, q: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        """The larger root's modulus of z^2 - (1 + beta)(1 - q) z + beta (1 - q), q = step_size p(lambda)."""
        beta = float(self.beta)  # type: ignore[arg-type]
        return _larger_root((1 + beta) * (1 - q), beta * (1 - q))


def _larger_root(trace: Float[np.ndarray, ...], product: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    root = np.sqrt((trace**2 - 4 * product).astype(complex))
    return np.maximum(np.abs(trace + root), np.abs(trace - root)) / 2


def around(
    gradient: EffectiveGradient, step_size: HyperParameter, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """The momentum scheme of that name around an effective gradient; by default heavy ball where beta is not the number 0.

    >>> import workbench as wb
    >>> wb.optimizers.around(wb.optimizers.UnifiedSAM(0.05), 0.1, beta=0.9, momentum='nesterov')
    sam+nesterov(step_size=0.1, beta=0.9, rho=0.05, lam=1)
    """
    if momentum is None:
        momentum = "none" if isinstance(beta, (int, float)) and beta == 0 else "heavy_ball"
    if momentum not in get_args(Momentum):
        raise ValueError(f"momentum must be one of {', '.join(get_args(Momentum))}, got {momentum!r}")
    if momentum == "none":
        return Descent(gradient, step_size)
    return (HeavyBall if momentum == "heavy_ball" else Nesterov)(gradient, step_size, beta)


def gradient_descent(step_size: HyperParameter) -> Descent:
    """x+ = x - step_size g(x). With minibatches this is SGD.

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.gradient_descent(0.5)), 4)
    4.0
    """
    return Descent(Plain(), step_size)


def heavy_ball(step_size: HyperParameter, beta: HyperParameter, gradient: EffectiveGradient | None = None) -> HeavyBall:
    """Polyak's heavy ball x+ = x + beta (x - x_prev) - step_size g~(x), around any effective gradient.

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.heavy_ball(0.5, beta=0.5)), 4)
    6.0
    """
    return HeavyBall(gradient or Plain(), step_size, beta)


def nesterov(step_size: HyperParameter, beta: HyperParameter, gradient: EffectiveGradient | None = None) -> Nesterov:
    """Nesterov's y = x + beta (x - x_prev), x+ = y - step_size g~(y), around any effective gradient.

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.nesterov(0.5, beta=0.5)), 4)
    3.0
    """
    return Nesterov(gradient or Plain(), step_size, beta)


def by_name(name: str, step_size: HyperParameter, *, rho: HyperParameter = 0.0, beta: HyperParameter = 0.0) -> Descent:
    """The rule called "kind" or "kind+momentum", e.g. "gd" or "usam+heavy_ball": gradient descent and the kinds of SAM whose
    one parameter is the radius rho.

    Raises ValueError listing the known names.

    >>> import workbench as wb
    >>> wb.optimizers.by_name('usam+heavy_ball', 0.1, rho=0.05, beta=0.9)
    usam+heavy_ball(step_size=0.1, beta=0.9, rho=0.05, lam=0)
    """
    kind, _, momentum = name.partition("+")
    known = ["gd", *CONSTRUCTORS]
    if kind not in known or momentum not in ("", "heavy_ball", "nesterov"):
        raise ValueError(
            f"unknown optimizer {name!r}; known are {', '.join(known)}, each alone or with '+heavy_ball' or '+nesterov'"
        )
    if kind == "gd":
        return around(Plain(), step_size, beta, momentum or "none")
    return CONSTRUCTORS[kind](step_size, rho, beta=beta, momentum=momentum or "none")
