"""Loss against the noise at test time for affine logits, which cannot overfit to one noise level, and for a detector that can."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.papers.adversarial_training_corruptions.digits import digits
from workbench.problems.calibration import noise_curve

Head = Literal["affine", "relu_pooling"]
SHARES = np.linspace(0, 2, 11)
"""Test noise over training noise."""


@functools.lru_cache(maxsize=8)
def affine_curve(seed: int, sigma: float, n: int = 500, steps: int = 100) -> xr.DataArray:
    """L(sigma') of softmax regression trained on the first n digits with noise sigma, on the next n with antithetic draws.

    The draws are the same for every sigma', so the sampled curve is convex and even in sigma', not only its mean.
    """
    images, targets = (part.double() for part in digits())
    weights = torch.zeros(images.shape[1] + 1, targets.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    noise = draws.normal(seed, (steps, n, images.shape[1]), stream="affine training", dtype=torch.float32)
    for z in noise:
        optimizer.zero_grad()
        _softmax_loss(weights, images[:n] + sigma * z, targets[:n]).mean().backward()
        optimizer.step()
    tests = draws.normal(seed, (2, n, images.shape[1]), stream="affine test")
    return _curve(lambda x: _softmax_loss(weights.detach(), x, targets[n : 2 * n]), images[n : 2 * n], tests, sigma)


@functools.lru_cache(maxsize=8)
def detector_curve(seed: int, sigma: float, N: int = 1024, n: int = 50, steps: int = 200) -> xr.DataArray:
    """The same for logistic regression on mean_i max(0, x_i), with mu = 1."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(n)
    images = signs[:, None].expand(2 * n, N)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.1)
    feature = (images + sigma * draws.normal(seed, (2 * n, N), stream="detector training")).clamp(min=0).mean(1)
    for _ in range(steps):
        optimizer.zero_grad()
        _logistic_loss(weights, feature, signs).mean().backward()
        optimizer.step()
    tests = draws.normal(seed, (1, 2 * n, N), stream="detector test")
    return _curve(lambda x: _logistic_loss(weights.detach(), x.clamp(min=0).mean(1), signs), images, tests, sigma)


def smallest_increments(seed: int, sigmas: Sequence[float], head: Head = "affine") -> xr.DataArray:
    """The smallest step of L from one sigma' to the next over [0, 2 sigma], per training noise."""
    if head not in ("affine", "relu_pooling"):
        raise ValueError(f"head must be 'affine' or 'relu_pooling', got {head!r}")
    curve = affine_curve if head == "affine" else detector_curve
    least = [float(curve(seed, sigma).diff("test_sigma").min()) for sigma in sigmas]
    return xr.DataArray(least, {"sigma": list(sigmas)}, "sigma", attrs={"long_name": "smallest increment of the loss"})


def _curve(loss, images: Tensor, noise: Tensor, sigma: float) -> xr.DataArray:
    places = sigma * SHARES
    values = noise_curve(loss, images, noise, places.tolist(), box=None, antithetic=True)
    return xr.DataArray(values.numpy(), {"test_sigma": places}, "test_sigma", attrs={"long_name": "mean loss"})


def _softmax_loss(weights: Tensor, images: Tensor, targets: Tensor) -> Float[Tensor, " sample"]:
    return -(targets * torch.log_softmax(images @ weights[:-1] + weights[-1], -1)).sum(-1)


def _logistic_loss(weights: Tensor, feature: Tensor, signs: Tensor) -> Float[Tensor, " sample"]:
    return torch.nn.functional.softplus(-signs * (weights[0] * feature + weights[1]))
