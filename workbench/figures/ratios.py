"""Methods against a baseline with the same seeds: ratios pair by pair, the interval on the log scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator, NullLocator

from workbench.figures.bands import DASHES, band, interval, line_styles
from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.values import coordinate, is_labelled, label_of, numbers, set_labels, texts
from workbench.figures.words import describe, interval_words


def paired_ratio(
    ax: Axes,
    values: Any,
    baseline: Any,
    *,
    arm: str,
    x: str | None = None,
    over: str = "seed",
    confidence: float = 0.95,
    diverged: Any = None,
) -> Axes:
    """Each arm's ratio to the baseline, seed by seed: geometric mean with Student's t interval of the logarithms.

    Without `x` one row per arm: a dot per seed, the mean and its interval, and a line at 1. With `x` a band per arm over the
    swept dimension. Seeds that an arm or the baseline lacks are left out of that arm's ratios.

    Args:
        values: DataArray of positive numbers with the dimensions `over`, `arm` and, where given, `x`.
        baseline: the value of `arm` that all others are divided by.
        diverged: the sweep's mask, as in `sweep_bands` (for `x`).

    Raises:
        ValueError: other dimensions, no such baseline, values <= 0.

    Example:
        `paired_ratio(ax, result.test_error, "sgd", arm="rule")`
    """
    if not is_labelled(values) or set(values.dims) != {over, arm, *([x] if x else [])}:
        found = sorted(map(str, values.dims)) if is_labelled(values) else "none"
        needed = sorted([over, arm, *([x] if x else [])])
        raise ValueError(f"values must be a DataArray with the dimensions {needed}, it has {found}: select first")
    arms, title = coordinate(values, arm)
    if baseline not in list(arms):
        raise ValueError(f"baseline must be one of {list(arms)} along {arm!r}, got {baseline!r}")
    known = numbers(values)
    if np.any(known[np.isfinite(known)] <= 0):
        raise ValueError("values has numbers <= 0, which have no ratio on the log scale: draw differences instead")
    at = list(arms).index(baseline)
    ratios = values / values.isel({arm: at}, drop=True)
    names, others = texts(arms), [k for k in range(len(arms)) if k != at]
    label = f"{label_of(values) or 'value'} over that of {names[at]}"
    if x is None:
        _rows(ax, [numbers(ratios.isel({arm: k})) for k in others], [names[k] for k in others], confidence)
        set_labels(ax, label, title)
        return ax
    _, x_label = coordinate(values, x)
    for k, style in zip(others, line_styles(len(others), title), strict=True):
        marks = None if diverged is None else diverged.isel({arm: k}) if arm in diverged.dims else diverged
        marks = None if marks is None else marks.any([dim for dim in marks.dims if dim != over])
        one = ratios.isel({arm: k}, drop=True).transpose(over, x)
        band(
            ax,
            None,
            one,
            names[k],
            average="geometric",
            confidence=confidence,
            diverged=marks,
            xlabel=x_label,
            ylabel=label,
            **style,
        )
    ax.axhline(1.0, color=GUIDE, linewidth=1.0, linestyle=DASHES[3], zorder=1)
    ax.set_yscale("log")
    _plain_ticks(ax.yaxis, ax.get_ylim())
    ax.legend(title=title)
    return ax


def _rows(ax: Axes, ratios: list[np.ndarray], names: list[str], confidence: float) -> None:
    for height, (ratio, name) in enumerate(zip(ratios, names, strict=True)):
        centre, low, high = (float(part) for part in interval(ratio, "geometric", confidence))
        seeds = ratio[np.isfinite(ratio)]
        ax.plot(seeds, np.full(seeds.shape, height + 0.18), ".", color=PALETTE[0], alpha=0.35, markersize=5)
        ax.plot([low, high], [height, height], color=PALETTE[0], linewidth=2.6, solid_capstyle="butt")
        ax.plot(centre, height, "o", color=PALETTE[0], markeredgecolor="white", markersize=8, zorder=4)
        gone = f", {len(ratio) - len(seeds)} seeds missing" if len(seeds) < len(ratio) else ""
        describe(
            ax,
            f"{name}: {interval_words(centre, low, high)}, {len(seeds)} seeds{gone}"
            if len(seeds)
            else f"{name}: no pair",
        )
    ax.axvline(1.0, color=GUIDE, linewidth=1.2)
    ax.set_xscale("log")
    _plain_ticks(ax.xaxis, ax.get_xlim())
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def _plain_ticks(axis: Axis, ends: tuple[float, float]) -> None:
    """Numbers such as 0.8 and 1.2 where the axis is shorter than two decades, which powers of ten leave nearly without."""
    if ends[1] < 100 * ends[0]:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
