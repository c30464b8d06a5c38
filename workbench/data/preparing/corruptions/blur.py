"""Blur: out of focus, through frosted glass, by motion, by zooming."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench.data.preparing.corruptions import filters
from workbench.data.preparing.corruptions.draw import Draws

Images = Float[Tensor, "sample channel row column"]


def defocus(images: Images, constants: tuple[float, float], draws: Draws) -> Images:
    """Convolution with a disk, mirrored at the edge pixels."""
    kernel = filters.disk(*constants).to(images)
    reach = kernel.shape[-1] // 2
    flat = images.flatten(0, 1)[:, None]
    padded = functional.pad(flat, (reach,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel[None, None])[:, 0].unflatten(0, images.shape[:2])


def glass(images: Images, constants: tuple[float, int, int], draws: Draws) -> Images:
    """Smoothed, then every pixel takes the place of a random neighbour, then smoothed again."""
    sigma, reach, rounds = constants
    images = filters.smooth(images, sigma)
    n, _, rows, columns = images.shape
    for number in range(int(rounds)):
        # Every round is a draw of its own, so that more rounds go on from fewer.
        move = draws.integers(f"move {number}", -int(reach), int(reach), (n, 2, rows, columns))
        row = (torch.arange(rows, device=images.device)[:, None] + move[:, 0]).clamp(0, rows - 1)
        column = (torch.arange(columns, device=images.device) + move[:, 1]).clamp(0, columns - 1)
        place = (row * columns + column).flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
        images = images.flatten(2).gather(2, place).unflatten(2, (rows, columns))
    return filters.smooth(images, sigma)


def motion(images: Images, constants: tuple[float, float], draws: Draws) -> Images:
    """Smeared along a line at an angle within 45 degrees of the x axis."""
    return filters.along_lines(images, *constants, draws.uniform("angle", (len(images),), -45.0, 45.0))


def zoom(images: Images, constants: tuple[float, float], draws: Draws) -> Images:
    """Mean of the image and its zooms 1, 1 + step, ... up to the largest (excluded)."""
    largest, step = constants
    factors = np.arange(1, largest, step)
    total = images.clone()
    for factor in factors:
        total += filters.zoomed(images, float(factor))
    return total / (len(factors) + 1)
