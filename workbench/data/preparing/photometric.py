"""Harmless changes of the values, one per image: noise, brightness, contrast or blur."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_nonnegative, require_within


def photometric(
    images: Float[Tensor, "*sample channel row column"],
    seed: int | Tensor,
    *,
    noise: float = 0.05,
    brightness: float = 0.1,
    contrast: float = 0.3,
    blur: float = 0.5,
    counter: int = 0,
    stream: str = "photometric",
) -> Float[Tensor, "*sample channel row column"]:
    """Exactly one change per image, each with probability 1/4, at a strength u uniform on [0, 1); values stay in [0, 1].

    Gaussian noise of deviation noise * u; brightness raised or lowered by up to `brightness`; contrast about the channel's
    mean times 1 - contrast * u; a blend of share blur * u with the image blurred by the 3x3 binomial filter.
    `seed` may be vmapped; `counter` is a host integer. Raises ValueError for negative strengths, contrast or blur above 1,
    and values outside [0, 1].
    """
    for name, value in (("noise", noise), ("brightness", brightness), ("contrast", contrast), ("blur", blur)):
        require_nonnegative(name, value)
        if name in ("contrast", "blur") and value > 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    require_within("images", images)
    lead = images.shape[:-3]
    chance = draws.uniform(seed, (math.prod(lead), 3), stream=stream, counter=counter)
    chance = chance.to(images.device, images.dtype).reshape(*lead, 3)[..., None, None, None, :]
    kind, strength, sign = (4 * chance[..., 0]).floor(), chance[..., 1], 2 * chance[..., 2] - 1
    z = draws.normal(seed, tuple(images.shape), stream=f"{stream} noise", counter=counter)
    mean = images.mean((-2, -1), keepdim=True)
    changed = images + noise * strength * z.to(images.device, images.dtype)
    changed = torch.where(kind == 1, images + brightness * sign, changed)
    changed = torch.where(kind == 2, mean + (1 - contrast * strength) * (images - mean), changed)
    changed = torch.where(kind == 3, images + blur * strength * (binomial_blur(images) - images), changed)
    return changed.clamp(0, 1)


def binomial_blur(images: Float[Tensor, "*sample channel row column"]) -> Float[Tensor, "*sample channel row column"]:
    """Weights 1 2 1 over 4 in both directions; edges are repeated."""
    rows, columns = images.shape[-2:]
    weights = images.new_tensor([[1.0, 2.0, 1.0]]) / 4
    flat = functional.pad(images.reshape(-1, 1, rows, columns), (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(flat, (weights.mT * weights)[None, None]).reshape(images.shape)
