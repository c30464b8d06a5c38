"""One step of a linear stochastic method, per coordinate: what its second moments need to know."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from workbench.checks import require_count
from workbench.dynamics.moments.lift import packed


@dataclass(frozen=True, eq=False)
class LinearStep:
    """One step of a linear method, per coordinate: asked points p = P s + Q u, answers u, s+ = L s + K u.

    Leading dimensions are steps. `noisy` is 1 for answers that are gradients, 0 for Hessian products.
    """

    carry: Float[np.ndarray, "... k k"]
    """L."""
    point: Float[np.ndarray, "... answer k"]
    """P."""
    move: Float[np.ndarray, "... k answer"]
    """K."""
    chain: Float[np.ndarray, "... answer answer"] | None = None
    """Q, strictly lower triangular: how an answer depends on earlier ones."""
    noisy: Float[np.ndarray, " answer"] | None = None

    def terms(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """W_m = K Q^m P and v_m = -K Q^m noisy, m = 0, 1, ... as far as Q^m is not zero."""
        answers = self.move.shape[-1]
        noisy = np.ones(answers) if self.noisy is None else self.noisy
        steps, reach = [], self.move
        for _ in range(answers):
            steps.append(reach)
            if self.chain is None:
                break
            reach = reach @ self.chain
            if not reach.any():
                break
        return [k @ self.point for k in steps], [-(k @ noisy) for k in steps]


Steps = LinearStep | Callable[[int, int], LinearStep]
Output = Float[np.ndarray, " k"] | Callable[[np.ndarray], Float[np.ndarray, "step k"]]


def averaged(
    steps: Steps, outputs: Mapping[str, Output], weights: Callable[[np.ndarray], np.ndarray]
) -> tuple[Steps, dict]:
    """The same method with a running sum S+ = S + w_t x_t appended to its state, x_t the parameters before step t.

    Returns the steps and the outputs, "average" = S / (w_0 + ... + w_{t-1}) among them. `weights` maps step numbers to w.
    """
    parameters = outputs["parameters"]

    def appended(first: int, count: int) -> LinearStep:
        step = steps if isinstance(steps, LinearStep) else steps(first, count)
        numbers = np.arange(first, first + count)
        added = weights(numbers)[:, None] * (parameters(numbers) if callable(parameters) else parameters)
        size = added.shape[1]
        carry = np.zeros((count, size + 1, size + 1))
        carry[:, :size, :size], carry[:, size, :size], carry[:, size, size] = step.carry, added, 1.0
        lead = step.carry.shape[:-2]
        point = np.concatenate([step.point, np.zeros((*lead, step.point.shape[-2], 1))], axis=-1)
        move = np.concatenate([step.move, np.zeros((*lead, 1, step.move.shape[-1]))], axis=-2)
        point, move = (np.broadcast_to(x, (count, *x.shape[-2:])) for x in (point, move))
        return LinearStep(carry, point, move, step.chain, step.noisy)

    def average(numbers: np.ndarray) -> np.ndarray:
        totals = np.array([weights(np.arange(number)).sum() if number else np.nan for number in numbers])
        zeros = np.zeros((len(numbers), parameters(numbers).shape[1] if callable(parameters) else len(parameters)))
        return np.concatenate([zeros, 1.0 / totals[:, None]], axis=1)

    def longer(output: Output) -> Output:
        if not callable(output):
            return np.append(output, 0.0)
        return lambda numbers: np.pad(output(numbers), ((0, 0), (0, 1)))

    return appended, {**{name: longer(output) for name, output in outputs.items()}, "average": average}


def squared(output: Output, step: int) -> Float[np.ndarray, " entry"]:
    """w with w . packed(C) = E output^2 for moments C of the state after `step` steps."""
    outer = np.multiply.outer(*(2 * [output(np.array([step]))[0] if callable(output) else output]))
    return packed(2 * outer - np.diag(np.diag(outer)))


def wanted_steps(steps: int, at: Iterable[int] | None) -> list[int]:
    """The numbers of steps to keep, ascending; ValueError unless they lie in 0..steps."""
    require_count("steps", steps, 0)
    wanted = sorted({steps} if at is None else {operator.index(step) for step in at})
    if wanted and not 0 <= wanted[0] <= wanted[-1] <= steps:
        raise ValueError(f"at must lie in 0..{steps}, got {wanted[0]}..{wanted[-1]}")
    return wanted


def wanted_outputs(outputs: Mapping[str, Output], names: Iterable[str] | None) -> list[str]:
    """The outputs asked for, all by default; ValueError for one that the method does not have."""
    wanted = list(outputs) if names is None else list(names)
    for name in wanted:
        if name not in outputs:
            raise ValueError(f"output must be one of {', '.join(outputs)}, got {name!r}")
    return wanted
