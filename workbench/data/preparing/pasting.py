"""Edits: a square of another image pasted at the same place."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count


def paste(
    images: Float[Tensor, "*sample channel row column"],
    donors: Float[Tensor, "*sample channel row column"],
    seed: int | Tensor,
    *,
    side: int,
    counter: int = 0,
    stream: str = "paste",
) -> tuple[Float[Tensor, "*sample channel row column"], Bool[Tensor, "*sample 1 row column"]]:
    """Each image with a square of its donor at a random place that lies inside, and the mask of what was pasted.

    `seed` may be vmapped; `counter` is a host integer. Raises ValueError for another shape of the donors and for a side that
    is no number of pixels of the image.
    """
    if donors.shape != images.shape:
        raise ValueError(f"donors must have the images' shape {tuple(images.shape)}, got {tuple(donors.shape)}")
    rows, columns = images.shape[-2:]
    require_count("side", side, 1, min(rows, columns))
    lead = images.shape[:-3]
    chance = draws.uniform(seed, (math.prod(lead), 2), stream=stream, counter=counter).to(images.device)
    room = torch.tensor([rows - side + 1, columns - side + 1], device=images.device)
    corner = (chance * room).long().reshape(*lead, 2)[..., None, None]
    row = torch.arange(rows, device=images.device)[:, None] - corner[..., 0, :, :]
    column = torch.arange(columns, device=images.device) - corner[..., 1, :, :]
    mask = ((row >= 0) & (row < side) & (column >= 0) & (column < side))[..., None, :, :]
    return torch.where(mask, donors, images), mask
