"""From raw values to the numbers a model sees: scaling, pooling, grey, centring, standardising."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor

STANDARDISE = ("features", "all", "channels")
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow's "L" mode uses."""


def pooled(images: Float[Tensor, "sample channel row column"], size: int) -> Float[Tensor, "sample channel size size"]:
    """Average pooling to `size` x `size`; the factor must be an integer (32 -> 16, not 28 -> 16)."""
    rows, columns = images.shape[-2:]
    if size < 1 or rows % size or columns % size:
        allowed = [length for length in range(1, rows + 1) if rows % length == 0 and columns % length == 0]
        raise ValueError(f"size must divide the image size {rows} x {columns}: one of {allowed}, got {size}")
    return torch.nn.functional.avg_pool2d(images, (rows // size, columns // size))


def greyed(images: Float[Tensor, "sample channel row column"]) -> Float[Tensor, "sample 1 row column"]:
    """The luminance of RGB images; grey images stay as they are."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(LUMINANCE, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def location_and_scale(
    inputs: Num[Tensor, " sample *sample_shape"],
    centre: bool,
    standardise: str | None,
    channel_mean: tuple[float, ...] | None = None,
    channel_deviation: tuple[float, ...] | None = None,
) -> tuple[Tensor, Tensor]:
    """What to subtract and what to divide by, from the samples given (in float64, population deviation).

    centre: the mean sample ("mean image"). standardise: "features" (each feature by its own mean and deviation), "all"
    (one number for every feature) or "channels" (one per colour; the published constants where there are any).
    A feature that never varies is only centred.
    """
    exact = inputs.to(torch.float64)
    zero, one = exact.new_zeros(()), exact.new_ones(())
    if centre and standardise is not None:
        raise ValueError("centre=True and standardise together would subtract two means; choose one")
    if standardise == "features":
        over: tuple[int, ...] = (0,)
    elif standardise == "all":
        over = tuple(range(exact.dim()))
    elif standardise == "channels":
        if exact.dim() != 4:
            raise ValueError('standardise="channels" needs images; use "features" or "all" for a table')
        if channel_mean is not None and channel_deviation is not None and len(channel_mean) == exact.shape[1]:
            location, scale = exact.new_tensor(channel_mean), exact.new_tensor(channel_deviation)
            return location[:, None, None], scale[:, None, None]
        over = (0, 2, 3)
    elif standardise is not None:
        raise ValueError(f"standardise must be one of {', '.join(STANDARDISE)} or None, got {standardise!r}")
    else:
        return (exact.mean(0) if centre else zero), one
    low, high = exact.amin(over, keepdim=True), exact.amax(over, keepdim=True)
    location, scale = exact.mean(over, keepdim=True), exact.std(over, correction=0, keepdim=True)
    # The mean of equal numbers is off by a rounding, and so is their deviation from zero.
    varies = (high > low) & (scale > 0)
    return torch.where(varies, location, low)[0], torch.where(varies, scale, one)[0]
