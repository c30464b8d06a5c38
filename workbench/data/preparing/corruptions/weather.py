"""Weather: snow, fog, brightness."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.preparing.corruptions import filters
from workbench.data.preparing.corruptions.draw import Draws
from workbench.data.preparing.transforms import greyed

Images = Float[Tensor, "sample channel row column"]


def snow(images: Images, constants: tuple[float, ...], draws: Draws) -> Images:
    """Falling flakes, smeared by their motion, over a whitened image; added once upright and once upside down."""
    mean, deviation, zoom, threshold, radius, sigma, share = constants
    n, _, rows, columns = images.shape
    flakes = mean + deviation * draws.normal("flakes", (n, 1, rows, columns))
    flakes = filters.zoomed(flakes, zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = filters.along_lines(flakes, radius, sigma, draws.uniform("direction", (n,), -135.0, -45.0))
    whitened = torch.maximum(images, 1.5 * greyed(images) + 0.5)
    return share * images + (1 - share) * whitened + flakes + flakes.flip(2, 3)


def fog(images: Images, constants: tuple[float, float], draws: Draws) -> Images:
    """(x + c plasma) max / (max + c), max the image's largest value."""
    strength, decay = constants
    n, _, rows, columns = images.shape
    side = 1 << math.ceil(math.log2(max(rows, columns)))
    cloud = plasma(n, side, decay, draws)[:, None, :rows, :columns]
    most = images.amax((1, 2, 3), keepdim=True)
    return (images + strength * cloud) * most / (most + strength)


def brightness(images: Images, added: float, draws: Draws) -> Images:
    """The value of HSV raised; hue and saturation stay, and black becomes grey."""
    value = images.amax(1, keepdim=True)
    raised = (value + added).clamp(0, 1)
    return torch.where(value > 0, images * raised / torch.where(value > 0, value, 1.0), raised)


def plasma(n: int, side: int, decay: float, draws: Draws) -> Float[Tensor, "sample side side"]:
    """Clouds by the diamond-square algorithm on a torus, scaled to [0, 1]; `side` is a power of two.

    Every halving of the distance divides the roughness by `decay` (its square where it is multiplied by the amplitude itself,
    as in the published generator).
    """
    cloud = torch.zeros(n, side, side, device=draws.device)
    step, roughness = side, 100.0

    def rough(total: Tensor, purpose: str) -> Tensor:
        return total / 4 + roughness**2 * draws.uniform(f"{purpose} {step}", tuple(total.shape), -1.0, 1.0)

    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        cloud[:, half::step, half::step] = rough(pairs + pairs.roll(-1, 2), "squares")
        middles = cloud[:, half::step, half::step]
        across = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        cloud[:, ::step, half::step] = rough(across, "rows")
        down = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        cloud[:, half::step, ::step] = rough(down, "columns")
        step, roughness = half, roughness / decay
    cloud = cloud - cloud.amin((1, 2), keepdim=True)
    return cloud / cloud.amax((1, 2), keepdim=True)
