"""What several corruptions are made of: smoothing, disks, lines, zooms."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Images = Float[Tensor, "sample channel row column"]


def smooth(images: Images, sigma: float, truncate: float = 4.0, mode: str = "replicate") -> Images:
    """Gaussian smoothing, cut at truncate * sigma: `scipy.ndimage.gaussian_filter` with mode "nearest" or "reflect"."""
    reach = int(truncate * sigma + 0.5)
    if reach == 0:
        return images
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images.dtype)
    for dim in (2, 3):
        index = _edges(images.shape[dim], reach, mode).to(images.device)
        shape = (1, 1, len(kernel), 1) if dim == 2 else (1, 1, 1, len(kernel))
        padded = images.index_select(dim, index)
        flat = padded.flatten(0, 1)[:, None]
        images = functional.conv2d(flat, kernel.reshape(shape))[:, 0].unflatten(0, images.shape[:2])
    return images


def _edges(length: int, reach: int, mode: str) -> Tensor:
    """Indices -reach, ..., length - 1 + reach brought inside: repeated edges, or mirrored about them (d c b a | a b c d)."""
    index = torch.arange(-reach, length + reach)
    if mode == "replicate":
        return index.clamp(0, length - 1)
    index = index % (2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)


@functools.cache
def disk(radius: float, sigma: float) -> Float[Tensor, "row column"]:
    """A filled disk of this radius whose edge is smoothed by a 3x3 Gaussian; sums to one."""
    reach = 8 if radius <= 8 else math.ceil(radius)
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    filled = (place[:, None] ** 2 + place[None, :] ** 2 <= radius**2).to(torch.float32)
    filled = filled / filled.sum()
    edge = torch.exp(-0.5 * (torch.tensor([-1.0, 0.0, 1.0]) / sigma) ** 2)
    edge = edge / edge.sum()
    smoothed = functional.conv2d(filled[None, None], (edge[:, None] * edge)[None, None], padding=1)[0, 0]
    kept = min(reach, math.ceil(radius) + 1)
    return smoothed[reach - kept : reach + kept + 1, reach - kept : reach + kept + 1]


def along_lines(images: Images, radius: float, sigma: float, angles: Float[Tensor, " sample"]) -> Images:
    """Each image smeared along a line of its own (degrees from the x axis): weights exp(-i^2 / 2 sigma^2) at i = 0, ...,
    2 radius pixels to one side, as ImageMagick's motion blur, each split between the four pixels around its place. Edges are
    repeated.
    """
    length = int(2 * radius)
    steps = torch.arange(length + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = weights / weights.sum()
    turn = torch.deg2rad(angles.to(images.dtype))[:, None]
    rows, columns = steps * torch.sin(turn), steps * torch.cos(turn)
    side = 2 * (length + 1) + 1
    kernels = images.new_zeros(len(images), side * side)
    for low_row in (0, 1):
        for low_column in (0, 1):
            row, column = rows.floor() + low_row, columns.floor() + low_column
            part = (1 - (rows - row).abs()) * (1 - (columns - column).abs()) * weights
            place = (row + length + 1) * side + column + length + 1
            kernels.scatter_add_(1, place.long(), part)
    kernels = kernels.reshape(len(images), 1, side, side)
    padded = functional.pad(images, (length + 1,) * 4, mode="replicate").transpose(0, 1)
    return functional.conv2d(padded, kernels, groups=len(images)).transpose(0, 1)


@functools.cache
def zoom_matrix(size: int, factor: float) -> Float[Tensor, "size size"]:
    """Linear interpolation of the middle size/factor entries on size entries: zooming in by `factor`, along one axis."""
    kept = math.ceil(size / factor)
    top = (size - kept) // 2
    grown = round(kept * factor)
    trim = (grown - size) // 2
    matrix = torch.zeros(size, size)
    for row in range(size):
        place = (row + trim) * (kept - 1) / max(grown - 1, 1)
        low = min(int(place), kept - 1)
        high = min(low + 1, kept - 1)
        matrix[row, top + low] += 1 - (place - low)
        matrix[row, top + high] += place - low
    return matrix


def zoomed(images: Float[Tensor, "... row column"], factor: float) -> Float[Tensor, "... row column"]:
    """The middle of the images, enlarged to their size."""
    down, across = (zoom_matrix(side, factor).to(images) for side in images.shape[-2:])
    return down @ images @ across.mT


@functools.cache
def box_resize(size: int, new: int) -> Float[Tensor, "new size"]:
    """Pillow's box filter from `size` to `new` entries along one axis."""
    from PIL import Image

    rows = Image.fromarray(np.eye(size, dtype=np.float32))
    return torch.from_numpy(np.array(rows.resize((size, new), Image.Resampling.BOX)))
