"""Exact means and covariances of small affine recursions, for many settings at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from workbench.dynamics.moments.linear_step import wanted_steps

Entries = Sequence[float | np.ndarray]
"""One number or array per entry of a vector; the arrays' dimensions are settings and broadcast against each other."""


class AffineStep(NamedTuple):
    """s+ = A s + b + noise, the noise of mean 0 and uncorrelated from step to step.

    maps[i][j], offsets[i] and noise[i][j] (the noise's covariance) are numbers or arrays whose dimensions are settings.
    """

    maps: Sequence[Entries]
    offsets: Entries
    noise: Sequence[Entries]


class MeanAndCovariance(NamedTuple):
    """E s and Cov s after the kept numbers of steps; `second` is E s s^T."""

    steps: list[int]
    mean: Float[np.ndarray, "step k ..."]
    covariance: Float[np.ndarray, "step k k ..."]

    @property
    def second(self) -> Float[np.ndarray, "step k k ..."]:
        return self.covariance + self.mean[:, :, None] * self.mean[:, None]


Recursion = AffineStep | Callable[[int], AffineStep]
"""Constant, or a function of the step number."""


def affine_path(
    step: Recursion, mean: Entries, covariance: Sequence[Entries] | None = None
) -> Iterator[tuple[list[np.ndarray], list[list[np.ndarray]]]]:
    """Mean and covariance of s after 0, 1, 2, ... steps, without end: entry by entry, nothing of the past is kept.

    The mean depends on start and offsets alone and the covariance on neither: dimensions that only the start and the offsets
    have (signs of an offset, several starts) cost nothing in the covariance.
    """
    first = [np.asarray(entry, dtype=np.float64) for entry in mean]
    k = range(len(first))
    spread = [[np.asarray(0.0 if covariance is None else covariance[i][j], dtype=np.float64) for j in k] for i in k]
    for number in itertools.count():
        yield first, spread
        maps, offsets, noise = step(number) if callable(step) else step
        # A setting that explodes is data: infinities and NaN say when.
        with np.errstate(over="ignore", invalid="ignore"):
            half = [[_dot(maps[i], [row[j] for row in spread]) for j in k] for i in k]
            following = [list(row) for row in spread]
            for i, j in itertools.combinations_with_replacement(k, 2):
                following[i][j] = following[j][i] = _dot(half[i], maps[j]) + np.asarray(noise[i][j])
            first = [_dot(maps[i], first) + np.asarray(offsets[i]) for i in k]
            spread = following


def _dot(left: Entries, right: Entries) -> np.ndarray:
    total = np.asarray(left[0] * right[0])
    for a, b in zip(left[1:], right[1:], strict=True):
        total = total + a * b
    return total


def affine_moments(
    step: Recursion,
    mean: Entries,
    steps: int,
    *,
    covariance: Sequence[Entries] | None = None,
    at: Iterable[int] | None = None,
) -> MeanAndCovariance:
    """Means and covariances of s after the numbers of steps in `at` (the last by default), exact to rounding.

    Raises ValueError for `at` outside 0..steps.

    >>> walk = AffineStep([[1.0]], [0.5], [[2.0]])
    >>> found = affine_moments(walk, [0.0], 10)
    >>> found.mean.item(), found.covariance.item()
    (5.0, 20.0)
    """
    wanted, kept = wanted_steps(steps, at), []
    for number, moments in enumerate(affine_path(step, mean, covariance)):
        if number in wanted:
            kept.append(moments)
        if number >= max(wanted, default=0):
            break
    k = len(mean)
    means = [entry for middle, _ in kept for entry in middle]
    covariances = [entry for _, spread in kept for row in spread for entry in row]
    return MeanAndCovariance(wanted, _stacked(means, (len(kept), k)), _stacked(covariances, (len(kept), k, k)))


def _stacked(entries: list[np.ndarray], lead: tuple[int, ...]) -> np.ndarray:
    # before the first step entries may still lack the dimensions of the settings
    whole = np.stack(np.broadcast_arrays(*entries)) if entries else np.empty(0)
    return whole.reshape(*lead, *whole.shape[1:])
