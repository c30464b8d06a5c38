"""Gradient descent near a minimiser of a deep linear network and from random starts: who stays, who leaves, where it lands.

Along the top eigenvector the distance to a minimiser grows by |1 - eta lambda_max| a step; with c = eta lambda_max/2 this is
|2c - 1|, so c = 1 parts staying from leaving. Runs are one batch: the layers have a leading dimension run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import draws
from workbench.papers.deep_matrix_factorization.sharpness import exact_sharpness
from workbench.problems.factorised.deep_linear import Layers, end_to_end, layer_gradients

SETTLED, WINDOW = 1e-20, 50
"""A run has converged when its loss is below SETTLED at each of its last WINDOW steps (1e-12 is met by a start at 1e-6)."""
LEFT = 100
"""A run has escaped when its distance exceeded LEFT times the distance at the start."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A batch of runs of gradient descent.

    Attributes:
        layers: where they end.
        distance: |theta - theta*| after every step, the start included; NaN once a run has blown up.
        along: |<theta - theta*, direction>| likewise.
        converged: the loss stayed below SETTLED over the last WINDOW steps.
    """

    layers: list[Float[Tensor, "run out in"]]
    distance: Float[Tensor, "step run"]
    along: Float[Tensor, "step run"]
    converged: Bool[Tensor, " run"]

    @property
    def escaped(self) -> Bool[Tensor, " run"]:
        start = self.distance[0].clamp_min(torch.finfo(self.distance.dtype).tiny)
        return (self.distance > LEFT * start).any(0)

    def stability(self, step_size: Float[Tensor, " run"]) -> Float[Tensor, " run"]:
        """lambda_max eta/2 where the runs end; meaningful for those that converged, NaN for those that blew up."""
        finite = torch.stack([layer.isfinite().all((-2, -1)) for layer in self.layers]).all(0)
        safe = [torch.where(finite[:, None, None], layer, torch.ones_like(layer)) for layer in self.layers]
        return torch.where(finite, exact_sharpness(safe)[0] * step_size / 2, torch.nan)


def descend(
    start: Layers,
    target: Float[Tensor, "*run out in"],
    step_size: Float[Tensor, " run"],
    steps: int,
    *,
    centre: Layers | None = None,
    direction: Layers | None = None,
) -> Descent:
    """x+ = x - eta grad f(x) for every run of a batch, with the analytic gradient.

    Args:
        start: W_1 ... W_L of every run.
        target: M, one for all runs or one a run.
        step_size: eta of every run.
        steps: how many.
        centre: theta* from which distances are measured; the start by default.
        direction: a unit direction a run whose component is recorded; the first displacement by default.
    """
    layers, centre = [layer.clone() for layer in start], list(start if centre is None else centre)
    eta = step_size[:, None, None]
    away = _difference(layers, centre)
    along_what = away if direction is None else list(direction)
    distance, along = [_norm(away)], [_inner(away, along_what).abs()]
    settled = torch.ones(len(step_size), dtype=torch.bool)
    for step in range(steps):
        gradients = layer_gradients(layers, target)
        layers = [layer - eta * gradient for layer, gradient in zip(layers, gradients, strict=True)]
        away = _difference(layers, centre)
        distance.append(_norm(away))
        along.append(_inner(away, along_what).abs())
        if step >= steps - WINDOW:
            loss = (target - end_to_end(layers)).square().sum((-2, -1))
            settled &= loss < SETTLED  # NaN is not
    return Descent(layers, torch.stack(distance), torch.stack(along), settled & (steps >= WINDOW))


def displaced(
    layers: Layers, eps: float, seeds: Sequence[int], direction: Layers | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """theta* + eps u for unit directions u: the given one, or a random one per run; returns the point and u."""
    if direction is None:
        parts = [
            torch.stack([draws.normal(seed, tuple(layer.shape[1:]), stream=f"direction {i}") for seed in seeds])
            for i, layer in enumerate(layers)
        ]
        norm = _norm(parts)[:, None, None]
        direction = [part / norm for part in parts]
    return [layer + eps * part for layer, part in zip(layers, direction, strict=True)], list(direction)


def gauge_direction(layers: Layers) -> list[Tensor]:
    """The unit tangent of W_2 -> g W_2, W_1 -> W_1/g: a direction along which all points are minimisers."""
    parts = [-layers[0], layers[1], *(torch.zeros_like(layer) for layer in layers[2:])]
    norm = _norm(parts)[:, None, None]
    return [part / norm for part in parts]


def growth_window(rate: float) -> tuple[int, int]:
    """First and last step over which a factor of `rate` a step is fitted: 5 to 25, fewer before it has made 1000 or 1/1000."""
    reach = math.inf if rate == 1 else 0.0 if rate == 0 else math.log(1000) / abs(math.log(rate))
    last = int(min(25.0, max(1.0, reach)))
    return (5, last) if last > 10 else (0, last)


def growth_rate(along: Float[Tensor, "step run"], first: int = 5, last: int = 25) -> Float[Tensor, " run"]:
    """exp of the least-squares slope of log along over the steps first ... last: the factor per step."""
    window = along[first : last + 1].log()
    time = torch.arange(first, last + 1, dtype=along.dtype)
    time = time - time.mean()
    return torch.exp((time[:, None] * window).sum(0) / time.square().sum())


def _difference(first: Layers, second: Layers) -> list[Tensor]:
    return [a - b for a, b in zip(first, second, strict=True)]


def _inner(first: Layers, second: Layers) -> Float[Tensor, " run"]:
    return torch.stack([(a * b).sum((-2, -1)) for a, b in zip(first, second, strict=True)]).sum(0)


def _norm(parts: Layers) -> Float[Tensor, " run"]:
    return _inner(parts, parts).sqrt()
