"""Noise on every value: Gaussian, shot (Poisson), impulse (salt and pepper)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.preparing.corruptions.draw import Draws

Images = Float[Tensor, "sample channel row column"]


def gaussian(images: Images, sigma: float, draws: Draws) -> Images:
    """x + sigma z."""
    return images + sigma * draws.normal("z", tuple(images.shape))


def shot(images: Images, photons: float, draws: Draws) -> Images:
    """Poisson(photons x) / photons."""
    return draws.poisson("photons", photons * images) / photons


def impulse(images: Images, share: float, draws: Draws) -> Images:
    """This share of the values is black or white, either with probability 1/2."""
    hit = draws.uniform("hit", tuple(images.shape)) < share
    white = draws.uniform("white", tuple(images.shape)) < 0.5
    return torch.where(hit, white.to(images.dtype), images)
