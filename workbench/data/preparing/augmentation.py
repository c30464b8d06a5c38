"""Random crops and flips from a seed, the same on every machine and inside a sweep."""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from workbench import draws


def pad_crop_flip(
    images: Num[Tensor, "sample channel row column"],
    seed: int | Tensor,
    *,
    counter: int = 0,
    padding: int = 4,
    flip: bool = True,
    stream: str = "augmentation",
) -> Num[Tensor, "sample channel row column"]:
    """Each image padded with zeros, cut back to its size at a random place and mirrored with probability 1/2.

    The usual augmentation of CIFAR. `counter` is a host integer, e.g. the number of the minibatch; `seed` may be
    vmapped.
    """
    if padding < 0:
        raise ValueError(f"padding must be >= 0 pixels, got {padding}")
    n, _, rows, columns = images.shape
    device = images.device
    corner = draws.integers(seed, 2 * padding + 1, (n, 2), stream=stream, counter=counter).to(device)
    row = corner[:, :1] + torch.arange(rows, device=device)
    column = torch.arange(columns, device=device).expand(n, columns)
    if flip:
        mirrored = draws.integers(seed, 2, (n, 1), stream=f"{stream} flip", counter=counter).to(device) == 1
        column = torch.where(mirrored, columns - 1 - column, column)
    column = corner[:, 1:] + column
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    pixel = row[:, :, None] * padded.shape[-1] + column[:, None, :]
    index = pixel.flatten(1)[:, None, :].expand(n, images.shape[1], rows * columns)
    return padded.flatten(2).gather(2, index).unflatten(2, (rows, columns))
