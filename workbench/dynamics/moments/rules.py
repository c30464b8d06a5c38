"""From an update rule to its second moments: the linear structure is found by stepping the rule itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workbench.dynamics.moments.coordinates import CoordinateMoments
from workbench.dynamics.moments.linear_step import LinearStep, averaged
from workbench.dynamics.moments.samples import SampleMoments
from workbench.optimizers.oracle import NotProvided, Oracle, Source
from workbench.optimizers.rule import Rule
from workbench.problems.linear.designs import FiniteData, NoiseLaw

Average = Literal["uniform", "linear"]
_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uniform": lambda step: np.ones(len(step)),
    "linear": lambda step: step + 1.0,
}


@overload
def second_moments(rule: Rule, law: FiniteData, *, average: Average | None = None) -> SampleMoments: ...
@overload
def second_moments(rule: Rule, law: NoiseLaw, *, average: Average | None = None) -> CoordinateMoments: ...
def second_moments(
    rule: Rule, law: NoiseLaw | FiniteData, *, average: Average | None = None
) -> CoordinateMoments | SampleMoments:
    """The exact second-moment operator of a linear rule on a quadratic whose gradients are noisy by `law`.

    rule: any rule that is a linear map of its state and of the gradients and Hessian products that it asks for:
        gradient descent, momentum, USAM and its relatives, AcSGD, also with schedules.
    law: `GaussianDesign` or `OneHotDesign` (a fresh sample a step, used in all gradients of the step), `FiniteData` (samples
        drawn with replacement) or `AdditiveNoise`.
    average: also follow the average of the parameters before each step, with weights 1 or t + 1.
    Raises ValueError for rules that are not linear (SAM divides by the gradient's norm; USAM does not) or that move
    without a gradient, and NotProvided for what a stream of single samples cannot answer.

    >>> from workbench.optimizers import gradient_descent
    >>> from workbench.problems.linear.designs import GaussianDesign
    >>> exact = second_moments(gradient_descent(0.1), GaussianDesign([1.0], sigma=1.0))
    >>> round(exact.stationary_risk(), 6)  # step sigma^2 / (2 (2 - 3 step)): the fourth moment of a Gaussian is 3
    0.029412
    """
    if average is not None and average not in _WEIGHTS:
        raise ValueError(f"average must be uniform, linear or None, got {average!r}")
    try:
        probe = _Probe(rule)
    except NotProvided as refused:
        raise NotProvided(refused.what, refused.why, rule) from None
    steps = probe.constant if probe.constant is not None else probe.steps
    outputs = probe.outputs()
    start = probe.start
    if average is not None:
        steps, outputs = averaged(steps, outputs, _WEIGHTS[average])
        start = np.append(start, 0.0)
    if isinstance(law, FiniteData):
        return SampleMoments(steps, law, start, outputs)
    return CoordinateMoments(steps, law, start, outputs)


_WHY = "exact moments know one sample a step, the same in all its gradients and Hessian products"


class _Answers(Oracle):
    """Answers questions with given numbers and notes the points at which they were asked."""

    source = Source()

    def __init__(self, step: Tensor, answers: Tensor | None) -> None:
        self._step, self._answers = step, answers
        self.points: list[Tensor] = []
        self.noisy: list[float] = []

    @property
    def step(self) -> Tensor:
        return self._step

    @property
    def full(self) -> Oracle:
        raise NotProvided("the gradient over all samples", _WHY)

    @property
    def previous(self) -> Oracle:
        raise NotProvided("the previous step's samples", _WHY)

    def fresh(self, name: str) -> Oracle:
        raise NotProvided("fresh samples", _WHY)

    def draw(self, draw: Any) -> Tensor:
        raise NotProvided("random numbers of its own", _WHY)

    def gradient(self, x: Any) -> Any:
        return self._answer(x, 1.0)

    def hessian_vector_product(self, x: Any, v: Any) -> Any:
        return self._answer(v, 0.0)

    def _answer(self, point: Any, noisy: float) -> Any:
        self.points.append(point)
        self.noisy.append(noisy)
        return torch.zeros_like(point) if self._answers is None else self._answers[len(self.points) - 1].reshape(1)


class _Watched(Tensor):
    """A step number that notices when something is computed from it: a rule that never does has constant coefficients."""

    used = False

    @staticmethod
    def __new__(cls, number: Tensor) -> _Watched:
        return Tensor._make_subclass(cls, number)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        for value in pytree.tree_leaves((args, kwargs or {})):
            if isinstance(value, _Watched):
                value.used = True
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


class _Probe:
    """The coefficients of a rule's step on a single coordinate."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        one = torch.ones(1, dtype=torch.float64)
        leaves, self._structure = pytree.tree_flatten((one, rule.init(one)))
        self.start = np.array([float(leaf) for leaf in leaves])
        watched = _Watched(torch.zeros((), dtype=torch.int64))
        first = _Answers(watched, None)
        rule.step(first, *self._unflatten(torch.from_numpy(self.start)))
        self.noisy, self.answers = np.array(first.noisy), len(first.points)
        self.constant = None if watched.used else _first(self.steps(0, 1))
        self._refuse_nonlinear()

    def outputs(self) -> dict[str, np.ndarray]:
        size = len(self.start)
        named = {"parameters": np.eye(size)[0]}
        columns = [self.rule.points(*self._unflatten(torch.eye(size, dtype=torch.float64)[i])) for i in range(size)]
        for name in columns[0]:
            named[name] = np.array([float(cast(Tensor, column[name])) for column in columns])
        return named

    def steps(self, first: int, count: int) -> LinearStep:
        numbers = torch.arange(first, first + count)
        size, answers = len(self.start), self.answers
        basis = torch.eye(size + answers, dtype=torch.float64)

        def columns(step: Tensor) -> Tensor:
            return torch.stack([self._step(step, row) for row in basis.unbind()], dim=1)

        map_ = torch.func.vmap(columns)(numbers).numpy()
        moved, points = map_[:, :size], map_[:, size:]
        return LinearStep(moved[:, :, :size], points[:, :, :size], moved[:, :, size:], points[:, :, size:], self.noisy)

    def _step(self, step: Tensor, column: Tensor) -> Tensor:
        """New state and asked points, for a state and answers given as one vector."""
        size = len(self.start)
        oracle = _Answers(step, column[size:])
        following = self.rule.step(oracle, *self._unflatten(column[:size]))
        leaves = pytree.tree_leaves(following)
        return torch.cat([leaf.reshape(1) for leaf in (*leaves, *oracle.points)])

    def _unflatten(self, state: Tensor) -> Any:
        return pytree.tree_unflatten([value.reshape(1) for value in state.unbind()], self._structure)

    def _refuse_nonlinear(self) -> None:
        size = len(self.start)
        step = torch.tensor(3)
        found = _first(self.steps(3, 1))
        chain = np.zeros((self.answers, self.answers)) if found.chain is None else found.chain
        everything = np.block([[found.carry, found.move], [found.point, chain]])
        column = torch.linspace(0.3, 1.7, size + self.answers, dtype=torch.float64)
        for tried in (column, -0.01 * column):
            expected, seen = everything @ tried.numpy(), self._step(step, tried).numpy()
            if not np.allclose(seen, expected, rtol=1e-10, atol=1e-13):
                raise ValueError(
                    f"{self.rule!r} is not linear in its state and gradients, so its second moments follow no linear "
                    "recursion; usam (no normalisation) is SAM's linear relative"
                )
        if not np.allclose(found.carry @ self.start, self.start, rtol=1e-10, atol=1e-13):
            raise ValueError(
                f"{self.rule!r} moves where the gradient is zero, so that x* is no fixed point; its errors follow no "
                "linear recursion"
            )


def _first(step: LinearStep) -> LinearStep:
    chain = None if step.chain is None else step.chain[0]
    return LinearStep(step.carry[0], step.point[0], step.move[0], chain, step.noisy)
