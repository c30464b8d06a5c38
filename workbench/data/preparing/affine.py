"""Rotation, scale and shift of images, given or drawn, differentiable in the image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_nonnegative


def affine(
    images: Float[Tensor, "*sample channel row column"],
    degrees: Float[Tensor, "*sample"],
    scale: Float[Tensor, "*sample"],
    shift: Float[Tensor, "*sample 2"],
) -> Float[Tensor, "*sample channel row column"]:
    """Rotated about the centre (counter-clockwise), scaled, then shifted by (right, down), each image by its own numbers.

    Bilinear, zero outside. A scale of 2 shows everything twice as large; shifts are in half sides, so that 2 is the side.
    """
    rows, columns = images.shape[-2:]
    angle = torch.deg2rad(degrees)[..., None, None]
    down, right = torch.meshgrid(
        torch.arange(rows, dtype=images.dtype, device=images.device),
        torch.arange(columns, dtype=images.dtype, device=images.device),
        indexing="ij",
    )
    x = right - (columns - 1) / 2 - shift[..., 0, None, None] * columns / 2
    y = down - (rows - 1) / 2 - shift[..., 1, None, None] * rows / 2
    # Every place looks up where it came from: the inverse map.
    cosine, sine, size = angle.cos(), angle.sin(), scale[..., None, None]
    source = torch.stack([(cosine * x - sine * y) / size, (sine * x + cosine * y) / size], -3)
    middle = source.new_tensor([(columns - 1) / 2, (rows - 1) / 2])[:, None, None]
    displacement = source + middle - torch.stack([right, down])
    flat = sampled(
        images.reshape(-1, *images.shape[-3:]), displacement.reshape(-1, 2, rows, columns), False, padding="zeros"
    )
    return flat.reshape(images.shape)


def random_affine(
    images: Float[Tensor, "*sample channel row column"],
    seed: int | Tensor,
    *,
    rotation: float = 5.0,
    scale: float = 0.03,
    shift: float = 0.03,
    counter: int = 0,
    stream: str = "affine",
) -> Float[Tensor, "*sample channel row column"]:
    """Every image turned by up to `rotation` degrees, scaled by up to 1 +- scale and shifted by up to `shift` half sides in
    each direction, uniformly. `seed` may be vmapped; `counter` is a host integer, e.g. the minibatch.

    Raises ValueError for negative strengths, a rotation above 180 or a scale of 1 or more.
    """
    for name, value, most in (
        ("rotation", rotation, 180.0),
        ("scale", scale, math.nextafter(1, 0)),
        ("shift", shift, 2.0),
    ):
        require_nonnegative(name, value)
        if value > most:
            raise ValueError(f"{name} must be at most {most:.3g}, got {value}")
    lead = images.shape[:-3]
    chance = draws.uniform(seed, (math.prod(lead), 4), low=-1.0, stream=stream, counter=counter)
    chance = chance.to(images.device, images.dtype).reshape(*lead, 4)
    return affine(images, rotation * chance[..., 0], 1 + scale * chance[..., 1], shift * chance[..., 2:])


def sampled(
    images: Float[Tensor, "sample channel row column"],
    displacement: Float[Tensor, "sample 2 row column"],
    align_corners: bool,
    padding: Literal["reflection", "zeros"] = "reflection",
) -> Float[Tensor, "sample channel row column"]:
    """The images at every pixel's place plus its displacement (right, down), bilinear.

    Outside is zero, or mirrored: about the edge pixels' middles (align_corners) or about the outer edges.
    """
    rows, columns = images.shape[-2:]
    x = torch.arange(columns, device=images.device) + displacement[:, 0]
    y = torch.arange(rows, device=images.device)[:, None] + displacement[:, 1]
    if align_corners:
        grid = torch.stack([2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1], -1)
    else:
        grid = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], -1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=align_corners)
