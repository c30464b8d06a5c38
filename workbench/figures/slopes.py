"""Rates of convergence: a quantity against a size on logarithmic axes, with guide lines and local slopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from workbench.figures.bands import band, interval, line_styles
from workbench.figures.style import GUIDE
from workbench.figures.values import coordinate, is_labelled, label_of, numbers, set_labels, texts
from workbench.figures.words import describe, interval_words


def loglog(
    ax: Axes,
    values: Any,
    x: str,
    hue: str | None = None,
    *,
    over: str | None = "seed",
    guides: Mapping[str, float] | None = None,
    local: Axes | None = None,
    confidence: float = 0.95,
    **line,
) -> Axes:
    """Values against `x` on two logarithmic axes: geometric mean over seeds with its band, and lines of given slopes.

    Args:
        values: DataArray of positive numbers along `x` > 0, and along `over` and `hue` where it has them.
        hue: dimension that gives one line per value.
        over: dimension of the seeds; None where there are none, as for exact quantities.
        guides: label -> slope of a grey line through the last point of the lowest line, e.g. {"$1/T$": -1}.
        local: Axes for the slopes between neighbouring points (mean over seeds with its band), with the guides' levels.

    Raises:
        ValueError: values or places <= 0 (name them, or select a range above rounding), other dimensions.

    Example:
        `loglog(top, result.loss, "T", guides={"$1/T$": -1, "$1/T^2$": -2}, local=below)`
    """
    from workbench.dynamics.times import local_slopes  # with it comes torch, which no other figure waits for

    wanted = {x, *([over] if over else []), *([hue] if hue else [])}
    if not is_labelled(values) or set(values.dims) != wanted:
        found = sorted(map(str, values.dims)) if is_labelled(values) else "none"
        raise ValueError(
            f"values must be a DataArray with the dimensions {sorted(wanted)}, it has {found}: select first"
        )
    places, x_label = coordinate(values, x)
    for name, part in ((x, numbers(places, x)), (str(values.name or "values"), numbers(values))):
        if np.any(part[np.isfinite(part)] <= 0):
            raise ValueError(f"{name} has numbers <= 0, which logarithmic axes cannot show: select those above 0")
    values = values.sortby(x) if over else values.sortby(x).expand_dims("seed")
    over = over or "seed"
    slopes = local_slopes(values, x)
    hues, title = ([""], "") if hue is None else coordinate(values, hue)
    names = texts(hues)
    lowest: np.ndarray | None = None
    for k, style in enumerate(line_styles(len(names), title or "hue")):
        part = values if hue is None else values.isel({hue: k}, drop=True)
        one: dict[str, Any] = {"marker": "o", "markersize": 4, **style, **line}
        band(ax, None, part.transpose(over, x), names[k], log=True, confidence=confidence, **one)
        last = slopes if hue is None else slopes.isel({hue: k}, drop=True)
        if local is not None:
            band(local, None, last.transpose(over, x), names[k], confidence=confidence, **one)
        else:
            centres = (
                part.item() for part in interval(numbers(last.transpose(over, x))[:, -1:], confidence=confidence)
            )
            describe(ax, f"{names[k]}{': ' if names[k] else ''}last local slope {interval_words(*centres)}")
        line_of_means = np.asarray(ax.lines[-1].get_xydata(), dtype=np.float64)
        if len(line_of_means) and (lowest is None or line_of_means[-1, 1] < lowest[-1, 1]):
            lowest = line_of_means
    ax.set_xscale("log")
    if local is not None:
        local.set_xscale("log")
    for k, (name, slope) in enumerate((guides or {}).items()):
        _guide(ax, local, lowest, name, slope, k)
    if hue is not None or guides:
        ax.legend(title=title or None)
    set_labels(ax, x_label, label_of(values))
    return ax


def _guide(ax: Axes, local: Axes | None, points, name: str, slope: float, index: int) -> None:
    dash = [":", (0, (5, 2)), (0, (1, 3))][index % 3]
    if points is not None:
        (start, _), (end, height) = points[0], points[-1]
        ends = np.array([start, end])
        # Below the data, so that the line hides none of them.
        ax.plot(
            ends, 0.7 * height * (ends / end) ** slope, color=GUIDE, linestyle=dash, linewidth=1.2, label=name, zorder=1
        )
    if local is not None:
        local.axhline(slope, color=GUIDE, linestyle=dash, linewidth=1.2, zorder=1)
    describe(ax, f"guide {name} of slope {slope:g}")
