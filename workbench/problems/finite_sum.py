"""Means of smooth functions with their constants: what theorems on stochastic gradients ask of a problem."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor


class FiniteSum(Protocol):
    """f = mean of f_1, ..., f_n, each L_i-smooth and bounded below. `minimum` is the least value of f."""

    @property
    def n_samples(self) -> int: ...

    @property
    def sample_smoothness(self) -> Float[Tensor, " sample"]:
        """L_i."""
        ...

    @property
    def sample_minima(self) -> Float[Tensor, " sample"]:
        """inf f_i."""
        ...

    @property
    def minimum(self) -> float | Float[Tensor, ""]: ...


def interpolation_gap(problem: FiniteSum, lowest: float | None = None) -> float:
    """sigma = f* - mean inf f_i >= 0, which vanishes where one point minimises every f_i.

    lowest: f*, or any lower bound of f that is to stand in its place; default `problem.minimum`. A bound below the mean of
    the infima is raised to it: that mean is a lower bound too.
    """
    least = float(problem.sample_minima.double().mean())
    return max(float(problem.minimum if lowest is None else lowest) - least, 0.0)
