"""The augmentation of domain-generalisation experiments (arXiv 2102.08604, as in DomainBed), from a seed."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.data.preparing.transforms import greyed


def augment_photographs(
    images: Float[Tensor, "sample 3 row column"],
    seed: int | Tensor,
    *,
    counter: int = 0,
    area: tuple[float, float] = (0.7, 1.0),
    jitter: float = 0.3,
    grey: float = 0.1,
    stream: str = "photographs",
) -> Float[Tensor, "sample 3 row column"]:
    """Random resized crop, mirror, colour jitter and grey for RGB images with values in [0, 1].

    The crop covers a share of the image uniform on `area` at a log-uniform aspect ratio in [3/4, 4/3] and is brought
    back to full size bilinearly. Brightness, contrast and saturation are multiplied by a factor uniform on
    [1 - jitter, 1 + jitter] and the hue shifted by up to `jitter` of a full turn, in this order. An image becomes grey
    with probability `grey`. `counter` is a host integer, e.g. the minibatch; `seed` may be vmapped.
    """
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area must satisfy 0 < low <= high <= 1, got {area}")
    if not 0 <= jitter <= 0.5:
        raise ValueError(f"jitter must be in [0, 0.5], got {jitter}")
    if not 0 <= grey <= 1:
        raise ValueError(f"grey must be a probability, got {grey}")
    n = len(images)
    chance = draws.uniform(seed, (10, n), stream=stream, counter=counter).to(images.device, images.dtype)
    cropped = _resized_crop(images, chance[:5], area)
    factors = (1 - jitter + 2 * jitter * chance[5:8])[:, :, None, None, None]
    bright = (cropped * factors[0]).clamp(0, 1)
    level = greyed(bright).mean((1, 2, 3), keepdim=True)
    contrasted = (level + factors[1] * (bright - level)).clamp(0, 1)
    shade = greyed(contrasted)
    saturated = (shade + factors[2] * (contrasted - shade)).clamp(0, 1)
    turned = _hue_shifted(saturated, jitter * (2 * chance[8] - 1))
    return torch.where((chance[9] < grey)[:, None, None, None], greyed(turned).expand_as(turned), turned)


def _resized_crop(images: Tensor, chance: Tensor, area: tuple[float, float]) -> Tensor:
    rows, columns = images.shape[-2:]
    share = area[0] + (area[1] - area[0]) * chance[0]
    ratio = torch.exp(math.log(4 / 3) * (2 * chance[1] - 1))
    # Lengths relative to the image; a crop that would be longer than the image is cut to it.
    height = torch.sqrt(share * columns / (ratio * rows)).clamp(max=1)
    width = torch.sqrt(share * ratio * rows / columns).clamp(max=1)
    top, left = chance[2] * (1 - height), chance[3] * (1 - width)
    sign = torch.where(chance[4] < 0.5, -1.0, 1.0).to(images.dtype)
    across = (2 * torch.arange(columns, device=images.device, dtype=images.dtype) + 1) / columns - 1
    down = (2 * torch.arange(rows, device=images.device, dtype=images.dtype) + 1) / rows - 1
    # grid_sample's coordinates: -1 and 1 are the outer edges of the image.
    from_column = (sign * width)[:, None] * across + (2 * left + width - 1)[:, None]
    from_row = height[:, None] * down + (2 * top + height - 1)[:, None]
    shape = (len(images), rows, columns)
    grid = torch.stack([from_column[:, None, :].expand(shape), from_row[:, :, None].expand(shape)], -1)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _hue_shifted(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue (HSV) by a fraction of a full turn; value and saturation stay."""
    red, green, blue = images.unbind(1)
    high, low = images.amax(1), images.amin(1)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        high == red,
        (green - blue) / safe % 6,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turned = sector + 6 * turns[:, None, None]

    def channel(offset: int) -> Tensor:
        # Smith's closed form of HSV to RGB: one formula for the three colours.
        place = (offset + turned) % 6
        return high - chroma * torch.minimum(place, 4 - place).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], 1)
