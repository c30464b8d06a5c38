"""What an update rule is: `init` and `step`, pure functions of parameters, a state, and an oracle for the loss.

    parameters, state = rule.step(oracle, parameters, state)

What a rule needs of the loop (groups of samples, the previous minibatch, random numbers, ...) it simply asks of the oracle;
one dry step before the first finds out, and refuses what a run cannot answer (`workbench.optimizers.oracle`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, TwoCycle
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.schedules import HyperParameter
from workbench.parameters import Parameters, Scalar, concrete, tree_map


class Rule:
    """Base of all update rules. Only `step` must be written.

    A rule is a frozen dataclass of its hyper-parameters: numbers, 0-dim tensors (one value per run in a sweep) or schedules
    (`workbench.optimizers.schedules`; `at(value, oracle.step)` gives the value of a step).

    >>> import torch
    >>> import workbench as wb
    >>> class Extragradient(wb.optimizers.Rule):
    ...     def step(self, oracle, x, state):
    ...         return x - 0.1 * oracle.gradient(x - 0.1 * oracle.gradient(x)), state
    >>> wb.run(wb.problems.quadratic([1.0]), Extragradient(), start=torch.tensor([3.0]), steps=1).parameters
    tensor([2.7300], dtype=torch.float64)
    """

    @property
    def name(self) -> str:
        """What the rule is called."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def init(self, parameters: Parameters) -> Any:
        """The state before the first step: tensors in tuples, NamedTuples and dicts."""
        return ()

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        """One update."""
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def duration(self, oracle: Oracle) -> Scalar:
        """The time that this step takes: a step size, dt, a waiting time (from the same draw as in `step`)."""
        return 1.0

    def points(self, parameters: Parameters, state: Any) -> dict[str, Parameters]:
        """Further sequences that a run can record, by name."""
        return {}

    def two_cycle(self, eigenvalue: float) -> TwoCycle:
        """The 2-cycle along an eigenvector of a quadratic (`workbench.optimizers.two_cycle`). Raises ValueError without one."""
        raise ValueError(f"{self.name} has no 2-cycle in closed form")

    @property
    def cost(self) -> float | None:
        """Minibatch gradients per step, where they are not what a step asks for (`Needs.cost`): steps that differ, losses that a
        gradient's forward pass gives for nothing.
        """
        return None

    def filter(self) -> Filter:
        """Which Hessian eigenvalues the rule lets pass. Raises ValueError where it has no such filter."""
        raise ValueError(
            f"{self.name} has no eigenvalue filter: it is defined for constant steps along a gradient field"
        )

    def __repr__(self) -> str:
        listed = fields(self) if is_dataclass(self) else ()
        shown = {field.name: getattr(self, field.name) for field in listed if field.repr}
        along = [value for value in shown.values() if isinstance(value, EffectiveGradient) and is_dataclass(value)]
        values = {name: value for name, value in shown.items() if not any(value is gradient for gradient in along)}
        for gradient in along:
            values |= {part.name: getattr(gradient, part.name) for part in fields(gradient)}
        return f"{self.name}({', '.join(f'{n}={_short(value)}' for n, value in values.items() if value is not None)})"


def remembered(gradient: Any, parameters: Parameters) -> Any:
    """What an effective gradient remembers before the first step; nothing where it is any callable (oracle, parameters)."""
    return gradient.init(parameters) if hasattr(gradient, "init") else ()


def advanced(gradient: Any, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Any]:
    """The effective gradient at the parameters, and what it remembers from there on."""
    if hasattr(gradient, "advance"):
        return gradient.advance(oracle, parameters, memory)
    return gradient(oracle, parameters), memory


class EffectiveGradient:
    """The field g~ that a rule follows instead of the gradient g: g itself, or the gradient at a displaced point.

    Only `__call__` must be written; for one that remembers something from step to step, `init` and `advance` instead.

    >>> import torch
    >>> import workbench as wb
    >>> class Doubled(wb.optimizers.EffectiveGradient):
    ...     name = 'doubled'
    ...     def __call__(self, oracle, x):
    ...         return 2 * oracle.gradient(x)
    >>> rule = wb.optimizers.around(Doubled(), 0.1)
    >>> wb.run(wb.problems.quadratic([1.0]), rule, start=torch.tensor([3.0]), steps=1).parameters
    tensor([2.4000], dtype=torch.float64)
    """

    name: ClassVar[str]
    cost: float | None = None
    """As in `Rule.cost`."""

    def __post_init__(self) -> None:
        if hasattr(self, "rho"):
            refuse_outside("rho", self.rho, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        """g~ at the parameters, with the samples of this step."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def init(self, parameters: Parameters) -> Any:
        """What is remembered before the first step: tensors in tuples, NamedTuples and dicts; () for nothing."""
        return ()

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Any]:
        """g~ at the parameters, and what is remembered from there on."""
        return self(oracle, parameters), memory

    def curvature(self) -> tuple[Scalar, ...]:
        """The coefficients, lowest first, of the polynomial p with Jac g~ = p(H) at critical points (arXiv:2510.09034).

        Raises ValueError where there is none: g~ is not differentiable there, random, or of other samples.
        """
        raise ValueError(
            f"{self.name} has no eigenvalue filter: its effective gradient is not differentiable at critical points, or is "
            "random or of groups of samples; normalised rules end in a 2-cycle, see two_cycle(rule, eigenvalue)"
        )

    def curvature_denominator(self) -> tuple[Scalar, ...]:
        """The coefficients of what p's polynomial is divided by, where p is rational."""
        return (1.0,)

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        """g~ in the 2-cycle along an eigenvector of a quadratic, where g~(X) = bound X. Raises ValueError without one."""
        raise ValueError(f"{self.name} has no 2-cycle in closed form")

    def transverse(
        self, other: float, eigenvalue: float, amplitude: float, step_size: float
    ) -> list[list[float]] | None:
        """For rules that remember: one step of descent of a deviation along another eigenvector, and of what is remembered of it,
        as a matrix; None where `on_axis` says it all.
        """
        return None


class Remembered(NamedTuple):
    """The state of a scheme around an effective gradient that remembers something: its own, and the gradient's."""

    own: Any
    memory: Any

    @classmethod
    def of(cls, own: Any, memory: Any) -> Any:
        """Both, or the scheme's own state alone where nothing is remembered."""
        return own if memory == () else cls(own, memory)

    @classmethod
    def parts(cls, state: Any) -> tuple[Any, Any]:
        """The scheme's own state and the memory."""
        return state if isinstance(state, cls) else (state, ())


@dataclass(frozen=True)
class Plain(EffectiveGradient):
    """g~ = g, the minibatch gradient.

    >>> import workbench as wb
    >>> wb.optimizers.Plain().curvature()
    (0.0, 1.0)
    """

    name = "gd"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        return oracle.gradient(parameters)

    def curvature(self) -> tuple[Scalar, ...]:
        return (0.0, 1.0)


@dataclass(frozen=True)
class Decayed(EffectiveGradient):
    """g~(x) + weight_decay x: the gradient of weight_decay/2 |x|^2 at the weights themselves, outside of the ascent, as in SAM's
    objective max L(w + e) + weight_decay/2 |w|^2 (arXiv:2010.01412, eq. 1) and in torch.optim.SGD and Adam.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.Decayed(wb.optimizers.Plain(), 0.5), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters
    tensor([2.5500, 3.4000], dtype=torch.float64)
    """

    gradient: EffectiveGradient
    weight_decay: Scalar

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.gradient.name

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        return tree_map(lambda g, x: g + self.weight_decay * x, self.gradient(oracle, parameters), parameters)


@dataclass(frozen=True, eq=False)
class Filter:
    """A converged rule rests only where 0 <= p(lambda) <= constant/step_size for every Hessian eigenvalue lambda.

    `coefficients` of p, lowest first; `constant` is c of the momentum scheme. Both may differ from run to run. Where p is
    rational, it is defined where `denominator` (coefficients too) is positive.

    >>> import workbench as wb
    >>> usam = wb.optimizers.Filter(coefficients=(0.0, 1.0, 0.5), constant=2.0, step_size=0.5)
    >>> usam.bound, usam.polynomial(2.0)  # p = lambda (1 + lambda/2) meets the bound at 2
    (4.0, 4.0)
    """

    coefficients: tuple[Scalar, ...]
    constant: Scalar
    step_size: Scalar
    denominator: tuple[Scalar, ...] = (1.0,)

    @property
    def bound(self) -> Scalar:
        """constant/step_size."""
        return self.constant / self.step_size

    def polynomial(self, eigenvalue: Any) -> Any:
        """p at eigenvalues: numbers, arrays, tensors, or a list, of which an array comes."""
        eigenvalue = np.asarray(eigenvalue, dtype=float) if isinstance(eigenvalue, (list, tuple)) else eigenvalue
        value = _horner(self.coefficients, eigenvalue)
        return value if self.denominator == (1.0,) else value / _horner(self.denominator, eigenvalue)


def _horner(coefficients: tuple[Scalar, ...], x: Any) -> Any:
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


F = TypeVar("F", bound=Callable[..., Any])
CONSTRUCTORS: dict[str, Callable[..., Any]] = {}
"""Constructors by name, as notebooks and cards spell them (see `by_name`)."""


def constructor(function: F) -> F:
    """Make a constructor known to `by_name` under its own name."""
    CONSTRUCTORS[function.__name__] = function
    return function


def constant(name: str, value: HyperParameter) -> Scalar:
    """A hyper-parameter that is no schedule: the number, or the tensor of a sweep in which every run has its own."""
    if isinstance(value, Tensor):
        number = concrete(value)
        return value if number is None else number
    if callable(value):
        raise ValueError(f"{name} is a schedule; the filter is defined for constant hyper-parameters")
    return float(value)


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        number = concrete(value) if value.dim() == 0 else None
        return "<one value per run>" if number is None else f"{number:.6g}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
