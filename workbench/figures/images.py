"""Small images side by side: data, corruptions, attributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from workbench.figures.values import Values, numbers
from workbench.figures.words import describe, listed

MISSING = (0.85, 0.45, 0.85)


def image_strip(
    ax: Axes,
    images: Values,
    labels: Sequence[str] = (),
    rows: Sequence[str] = (),
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    signed: bool = False,
) -> Axes:
    """Images in one row or a grid, every one on the same scale, pixel by pixel.

    Args:
        images: [column, y, x] or [column, 3 or 1, y, x], or with a leading dimension `row`: [row, column, 1 or 3, y, x].
        labels: one per column, above it; rows: one per row, at its left.
        limits: values shown as black and as white. Values beyond them are refused: clamp them where that is meant.
        signed: attributions instead: [row,] column, y, x numbers around 0, blue below and red above, white at 0, each image
            scaled by its largest magnitude.

    NaN pixels are drawn in pink.

    Raises:
        ValueError: shapes that do not fit, values outside the limits, another number of labels than of columns.
    """
    grid = _grid(numbers(images, "images"), signed)
    n_rows, n_columns, _, height, width = grid.shape
    for name, words, count in (("labels", labels, n_columns), ("rows", rows, n_rows)):
        if len(words) and len(words) != count:
            raise ValueError(f"{name} has {len(words)} entries for {count}: give one for each")
    known = np.isfinite(grid)
    if np.isinf(grid).any():
        raise ValueError("images has infinite values: replace them")
    low, high = limits
    if not signed and known.any() and (grid[known].min() < low or grid[known].max() > high):
        raise ValueError(
            f"images has values from {grid[known].min():.3g} to {grid[known].max():.3g}, outside limits={limits}: "
            "give their limits, clamp them, or draw attributions with signed=True"
        )
    gap = max(1, round(0.06 * max(height, width)))
    canvas = np.ones((n_rows * (height + gap) - gap, n_columns * (width + gap) - gap, 3))
    for row in range(n_rows):
        for column in range(n_columns):
            colours = _signed(grid[row, column, 0]) if signed else (grid[row, column] - low) / (high - low)
            colours = colours if signed else np.moveaxis(np.broadcast_to(colours, (3, height, width)), 0, -1)
            colours = np.where(np.isfinite(colours).all(-1, keepdims=True), colours, MISSING)
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = colours
    ax.imshow(canvas, interpolation="nearest")
    ax.set_xticks([k * (width + gap) + (width - 1) / 2 for k in range(n_columns)] if len(labels) else [], labels)
    ax.set_yticks([k * (height + gap) + (height - 1) / 2 for k in range(n_rows)] if len(rows) else [], rows)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    kind = "attribution maps" if signed else "images"
    of_rows = f" in {n_rows} rows{f' ({listed(rows)})' if len(rows) else ''}" if n_rows > 1 or len(rows) else ""
    describe(ax, f"{n_rows * n_columns} {kind}{of_rows}{f': {listed(labels)}' if len(labels) else ''}")
    return ax


def _grid(images: np.ndarray, signed: bool) -> np.ndarray:
    """As [row, column, channel, y, x]."""
    if signed:
        if images.ndim not in (3, 4):
            raise ValueError(f"images has shape {images.shape}: attributions are [column, y, x] or [row, column, y, x]")
        images = images[..., None, :, :]
    elif images.ndim == 3:
        images = images[:, None]
    images = images[None] if images.ndim == 4 else images
    if images.ndim != 5 or images.shape[2] not in (1, 3) or not images.size:
        raise ValueError(
            f"images has shape {images.shape}: give [column, y, x], [column, channel, y, x] or [row, column, channel, y, x] "
            "with 1 or 3 channels"
        )
    return images


def _signed(image: np.ndarray) -> np.ndarray:
    """Red above zero, blue below, white at zero, by share of the largest magnitude."""
    largest = np.nanmax(np.abs(image)) if np.isfinite(image).any() else 1.0
    share = image / (largest or 1.0)
    fade = 1 - np.abs(share)
    return np.stack([np.where(share > 0, 1.0, fade), fade, np.where(share < 0, 1.0, fade)], -1) + 0 * share[..., None]
