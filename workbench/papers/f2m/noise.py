"""Noise in a box around the weights, and the box that clamps them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from workbench import draws
from workbench.papers.f2m.settings import Noise

SHAPES = (0.3, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""The released alpha and beta of the grid's weights."""
GRID = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)


class BoxNoise:
    """Noise for the weights of some seeds, in units of the half-width b: every call gives fresh numbers.

    A seed's numbers are its own, whatever other seeds are there and whatever b is.
    """

    def __init__(self, seeds: Sequence[int], kind: Noise = "uniform", stream: str = "noise") -> None:
        self._generators = [draws.generator(seed, stream) for seed in seeds]
        self._draw = _uniform if kind == "uniform" else _beta_grid

    def __call__(self, m_draws: int, like: Float[Tensor, "seed ..."]) -> Float[Tensor, "draw seed ..."]:
        """m_draws tensors in [-1, 1] for every seed of `like`."""
        shape = (m_draws, *like.shape[1:])
        numbers = np.empty((len(self._generators), *shape), np.float32)
        for generator, row in zip(self._generators, numbers, strict=True):
            self._draw(generator, row)
        return torch.from_numpy(numbers).to(like.dtype).transpose(0, 1)


def _uniform(generator: np.random.Generator, out: np.ndarray) -> None:
    generator.random(out=out, dtype=np.float32)
    out *= 2
    out -= 1


def _beta_grid(generator: np.random.Generator, out: np.ndarray) -> None:
    """Points of {-1, -1/2, 0, 1/2, 1} with the weights that Beta(alpha, beta) gives five equal parts of [0, 1].

    alpha and beta are drawn anew for every tensor and draw.
    """
    for row in out:
        alpha, beta = generator.choice(SHAPES, 2)
        row[...] = GRID[np.searchsorted(_cell_ends(alpha, beta), generator.random(row.shape, np.float32))]


@functools.cache
def _cell_ends(alpha: float, beta: float) -> np.ndarray:
    return stats.beta.cdf(np.arange(1, len(GRID)) / len(GRID), alpha, beta).astype(np.float32)


def clamp_to_box(weights: Float[Tensor, "..."], center: Float[Tensor, "..."], b: float) -> Float[Tensor, "..."]:
    """PC: every weight cut at center - b and center + b."""
    return weights.clamp(center - b, center + b)
