"""Deep linear networks: |M - W_L ... W_1|_F^2 of any depth and widths, with its analytic gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.problems.base import Problem

Layers = Sequence[Float[Tensor, "*batch out in"]]
"""W_1, ..., W_L, the first layer first; leading dimensions are batches of networks."""


def partial_products(layers: Layers) -> tuple[list[Tensor], list[Tensor]]:
    """A_i = W_L ... W_{i+1} (d_L x d_i, A_L = I) and B_i = W_{i-1} ... W_1 (d_{i-1} x d_0, B_1 = I), for i = 1 ... L."""
    after = [_identity(layers[-1], layers[-1].shape[-2])]
    for layer in layers[:0:-1]:
        after.append(after[-1] @ layer)
    before = [_identity(layers[0], layers[0].shape[-1])]
    for layer in layers[:-1]:
        before.append(layer @ before[-1])
    return after[::-1], before


def end_to_end(layers: Layers) -> Float[Tensor, "*batch out in"]:
    """W_L ... W_1."""
    product = layers[0]
    for layer in layers[1:]:
        product = layer @ product
    return product


def layer_gradients(layers: Layers, target: Float[Tensor, "*batch out in"]) -> list[Tensor]:
    """Gradients of |M - W|_F^2: G_i = -2 A_i^T (M - W) B_i^T."""
    after, before = partial_products(layers)
    residual = target - layers[-1] @ before[-1]
    return [-2 * (a.mT @ residual @ b.mT) for a, b in zip(after, before, strict=True)]


def _identity(like: Tensor, size: int) -> Tensor:
    eye = torch.eye(size, dtype=like.dtype, device=like.device)
    return eye.expand(*like.shape[:-2], size, size)


@dataclass(frozen=True, eq=False)
class DeepLinear(Problem[dict[str, Tensor]]):
    """f(W_1, ..., W_L) = |M - W_L ... W_1|_F^2 (no factor 1/2); parameters {"W1": d_1 x d_0, ..., "WL": d_L x d_{L-1}}.

    Starts are N(0, scale^2/fan-in), independent entries.
    """

    target: Float[Tensor, "out in"]
    widths: tuple[int, ...]
    """Hidden widths d_1, ..., d_{L-1}."""
    scale: float | Tensor = 1.0
    minimum = 0.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """d_0, ..., d_L."""
        return (self.target.shape[1], *self.widths, self.target.shape[0])

    def initial(self, seed: Seed) -> dict[str, Tensor]:
        sizes, dtype = self.sizes, self.target.dtype
        return {
            f"W{i + 1}": self.scale
            / math.sqrt(sizes[i])
            * draws.normal(seed, (sizes[i + 1], sizes[i]), stream=f"layer {i + 1}", dtype=dtype)
            for i in range(len(sizes) - 1)
        }

    def layers(self, parameters: dict[str, Tensor]) -> list[Tensor]:
        """W_1, ..., W_L of a set of parameters."""
        return [parameters[f"W{i + 1}"] for i in range(len(self.sizes) - 1)]

    def loss(self, parameters: dict[str, Tensor]) -> Float[Tensor, ""]:
        residual = self.target - end_to_end(self.layers(parameters))
        return (residual * residual).sum()

    def gradient(self, parameters: dict[str, Tensor], batch: tuple[Tensor, ...] | None = None) -> dict[str, Tensor]:
        gradients = layer_gradients(self.layers(parameters), self.target)
        return {f"W{i + 1}": gradient for i, gradient in enumerate(gradients)}


def deep_linear(target: Float[Tensor, "out in"], widths: Sequence[int], scale: float = 1.0) -> DeepLinear:
    """A deep linear network of depth len(widths) + 1 that learns `target`, in the target's dtype.

    Raises:
        ValueError: for a target that is not a matrix, no hidden layer, or a width below 1.
    """
    if target.ndim != 2:
        raise ValueError(f"target must be a matrix [out, in], got shape {tuple(target.shape)}")
    if not len(widths):
        raise ValueError("widths must name at least one hidden layer, got none")
    for width in widths:
        require_count("widths", width, 1)
    return DeepLinear(target, tuple(widths), scale)
