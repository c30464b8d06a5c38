"""Contrast, elastic deformation, pixels, JPEG."""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.preparing.affine import sampled
from workbench.data.preparing.corruptions import filters
from workbench.data.preparing.corruptions.draw import Draws

Images = Float[Tensor, "sample channel row column"]


def contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Towards the mean of every channel."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def elastic(images: Images, constants: tuple[float, float, float], draws: Draws) -> Images:
    """A random affine map (three points of a square move), then a smooth random displacement; bilinear, mirrored edges."""
    n, _, rows, columns = images.shape
    side = min(rows, columns)
    amplitude, smoothing, affine = (side * constant for constant in constants)
    images = _mapped_affinely(images, affine * draws.uniform("affine", (n, 3, 2), -1.0, 1.0))
    if amplitude == 0:
        return images
    moves = draws.uniform("moves", (n, 2, rows, columns), -1.0, 1.0)
    moves = filters.smooth(moves, smoothing, truncate=3.0, mode="reflect")
    return sampled(images, amplitude * moves, align_corners=False)


def pixelate(images: Images, share: float, draws: Draws) -> Images:
    """Shrunk to int(share * side) pixels by averaging over boxes, and back."""
    for dim in (-2, -1):
        size = images.shape[dim]
        new = max(1, int(size * share))
        matrix = (filters.box_resize(new, size) @ filters.box_resize(size, new)).to(images)
        images = matrix @ images if dim == -2 else images @ matrix.mT
    return images


def jpeg(images: Images, quality: int, draws: Draws) -> Images:
    """Through Pillow's JPEG coder, from values rounded to bytes."""
    from PIL import Image

    stored = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.empty_like(stored)
    for place, image in enumerate(stored):
        with io.BytesIO() as file:
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=int(quality))
            decoded[place] = np.asarray(Image.open(file)).reshape(image.shape)
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images) / 255


def _mapped_affinely(images: Images, moves: Float[Tensor, "sample 3 2"]) -> Images:
    """Moved so that three corners of a square about the middle, a third of the side from it, land `moves` (x, y) away."""
    n, _, rows, columns = images.shape
    reach = min(rows, columns) // 3
    middle = torch.tensor([columns // 2, rows // 2], dtype=images.dtype, device=images.device)
    corners = middle + reach * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]).to(images)
    # From where it lands back to where it came from: an affine map through three points.
    landed = torch.cat([corners + moves, torch.ones_like(moves[..., :1])], -1)
    back = torch.linalg.solve(landed, corners.expand(n, 3, 2))
    place = torch.stack(
        torch.meshgrid(
            torch.arange(columns, device=images.device), torch.arange(rows, device=images.device), indexing="xy"
        ),
        -1,
    ).to(images.dtype)
    source = torch.cat([place, torch.ones_like(place[..., :1])], -1).flatten(0, 1) @ back
    displacement = source.unflatten(1, (rows, columns)) - place
    return sampled(images, displacement.permute(0, 3, 1, 2), align_corners=True)
