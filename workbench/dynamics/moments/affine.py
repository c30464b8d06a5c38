"""Exact means and covariances of small affine recursions, many settings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from workbench.dynamics.moments.lift import lift, packed, unpacked
from workbench.dynamics.moments.linear_step import wanted_steps


class MeanAndCovariance(NamedTuple):
    """E s and Cov s after the kept numbers of steps; `second` is E s s^T."""

    steps: list[int]
    mean: Float[np.ndarray, "step ... k"]
    covariance: Float[np.ndarray, "step ... k k"]

    @property
    def second(self) -> Float[np.ndarray, "step ... k k"]:
        return self.covariance + self.mean[..., :, None] * self.mean[..., None, :]


class AffineStep(NamedTuple):
    """s+ = A s + b + noise with noise of mean 0, uncorrelated from step to step; leading dimensions are settings."""

    maps: Float[np.ndarray, "... k k"]
    offsets: Float[np.ndarray, "... k"]
    noise: Float[np.ndarray, "... k k"]


def affine_moments(
    step: AffineStep | Callable[[int], AffineStep],
    mean: Float[np.ndarray, "... k"],
    steps: int,
    *,
    covariance: Float[np.ndarray, "... k k"] | None = None,
    at: Iterable[int] | None = None,
) -> MeanAndCovariance:
    """Means and covariances of s after the numbers of steps in `at` (the last by default), exact to rounding.

    step: constant, or a function of the step number. Raises ValueError for `at` outside 0..steps.

    >>> walk = AffineStep(np.array([[1.0]]), np.array([0.5]), np.array([[2.0]]))
    >>> found = affine_moments(walk, np.array([0.0]), 10)
    >>> found.mean.item(), found.covariance.item()
    (5.0, 20.0)
    """
    wanted = wanted_steps(steps, at)
    mean = np.asarray(mean, dtype=np.float64)
    spread = np.zeros((*mean.shape, mean.shape[-1])) if covariance is None else np.asarray(covariance, dtype=np.float64)
    entries, kept = packed(spread), []
    constant = None if callable(step) else _lifted(step)
    with np.errstate(over="ignore", invalid="ignore"):
        for number in range(max(wanted, default=0) + 1):
            if number in wanted:
                kept.append((mean, unpacked(entries)))
            if number < steps:
                maps, squares, offsets, noise = constant or _lifted(step(number))  # type: ignore[operator]
                mean = (maps @ mean[..., None])[..., 0] + offsets
                entries = (squares @ entries[..., None])[..., 0] + noise
    return MeanAndCovariance(wanted, np.stack([one for one, _ in kept]), np.stack([one for _, one in kept]))


def _lifted(step: AffineStep) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    maps = np.asarray(step.maps, dtype=np.float64)
    return (
        maps,
        lift(maps),
        np.asarray(step.offsets, dtype=np.float64),
        packed(np.asarray(step.noise, dtype=np.float64)),
    )
