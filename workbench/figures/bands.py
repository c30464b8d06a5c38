"""A line over seeds with the interval that the claims use: Student's t, not a bootstrap."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from scipy import stats

from workbench.figures.style import PALETTE
from workbench.figures.values import Values, coordinate, is_labelled, label_of, numbers, places, set_labels, texts
from workbench.figures.words import describe, interval_words

Average = Literal["mean", "geometric", "median"]
DASHES = ("-", "--", "-.", ":")


def interval(samples: Values, average: Average = "mean", confidence: float = 0.95) -> tuple[np.ndarray, ...]:
    """Average of `samples` over their first axis, with lower and upper end of its confidence interval.

    Args:
        samples: [seed, ...]; non-finite samples are left out at the steps where they occur.
        average: `mean` (Student's t), `geometric` (Student's t of the logarithms; positive samples only) or `median`
            (order statistics, exact for any continuous distribution).
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        (centre, low, high), each of shape [...]. Too few samples for an interval give NaN ends, none a NaN centre.

    Raises:
        ValueError: unknown average, confidence outside (0, 1), or a geometric mean of non-positive samples.
    """
    if average not in ("mean", "geometric", "median"):
        raise ValueError(f"average={average!r}: use 'mean', 'geometric' or 'median'")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1, for example 0.95")
    data = numbers(samples, "samples")
    if data.ndim == 0:
        raise ValueError("samples is a single number: give an array whose first axis is the seed")
    data = np.where(np.isfinite(data), data, np.nan)
    if average == "median":
        return _median_interval(data, confidence)
    if average == "geometric":
        if np.any(data <= 0):
            raise ValueError(
                "a geometric average (log=True) needs positive samples; use average='median', or log=False"
            )
        return tuple(np.exp(part) for part in interval(np.log(data), "mean", confidence))
    count = np.isfinite(data).sum(axis=0)
    total = np.nansum(data, axis=0)
    centre = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    squares = np.nansum((data - centre) ** 2, axis=0)
    freedom = np.maximum(count - 1, 1)
    half = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(squares / freedom / np.maximum(count, 1))
    half = np.where(count > 1, half, np.nan)
    return centre, centre - half, centre + half


def _median_interval(data: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact interval of the median: the k-th smallest and k-th largest of n, P(Binomial(n, 1/2) < k) <= (1-c)/2."""
    ordered = np.sort(data, axis=0)  # NaN last
    count = np.isfinite(data).sum(axis=0)
    rank = stats.binom.ppf((1 - confidence) / 2, count, 0.5)
    rank = np.where(stats.binom.cdf(rank, count, 0.5) > (1 - confidence) / 2, rank - 1, rank)  # 0-based index of low
    enough = (count > 0) & (rank >= 0)
    low_index = np.where(enough, rank, 0).astype(int)
    high_index = np.where(enough, count - 1 - rank, 0).astype(int)
    pick = lambda index: np.take_along_axis(ordered, index[None], axis=0)[0]  # noqa: E731
    middle = np.maximum(count - 1, 0)
    centre = (pick(middle // 2) + pick((middle + 1) // 2)) / 2
    centre = np.where(count > 0, centre, np.nan)
    return centre, np.where(enough, pick(low_index), np.nan), np.where(enough, pick(high_index), np.nan)


def band(
    ax: Axes,
    x: Values,
    samples: Values,
    label: str = "",
    *,
    average: Average = "mean",
    confidence: float = 0.95,
    log: bool = False,
    diverged: Values | None = None,
    xlabel: str = "",
    ylabel: str = "",
    **line: Any,
) -> Axes:
    """Average over seeds as a line, its confidence interval as a band.

    Non-finite samples leave the average where they occur; the line goes through the steps that the series has. The legend
    counts the runs that diverged where `diverged` says so, and otherwise those that lack steps which other seeds have.

    Args:
        x: [step], numbers or dates in any order; None takes the coordinate of labelled samples.
        samples: [seed, step] array, tensor or DataArray (whose dimension `seed` or `run`, else the first, is averaged).
        label: legend entry.
        average: `mean`, `geometric` (for losses, ratios, times) or `median`; see `interval`.
        log: logarithmic y axis; a mean is then the geometric mean.
        diverged: [seed] (or more dimensions, any of which counts), true for runs that diverged: `sweep(...).diverged`.
        line: passed to `Axes.plot` (color, linestyle, marker, ...).

    Raises:
        ValueError: shapes that do not fit, texts or complex numbers, a geometric average of non-positive samples.
    """
    if is_labelled(samples):
        over = next((dim for dim in ("seed", "run") if dim in samples.dims), samples.dims[0])
        samples = samples.transpose(over, ...)
        if len(samples.dims) != 2:
            raise ValueError(f"samples has dimensions {tuple(samples.dims)}: select so that two remain, {over!r} and x")
        axis, axis_label = coordinate(samples, samples.dims[1])
        name, x = str(samples.dims[1]), axis if x is None else x
        set_labels(ax, xlabel or axis_label, ylabel or label_of(samples))
        diverged = diverged.transpose(over, ...) if diverged is not None and is_labelled(diverged) else diverged
    elif x is None:
        raise ValueError("x=None needs samples with coordinates (an xarray.DataArray): give the steps as x")
    else:
        name = "x"
    set_labels(ax, xlabel or label_of(x), ylabel)
    data, x = numbers(samples, "samples"), places(x, name)
    if data.ndim != 2 or x.ndim != 1 or data.shape[1] != x.size:
        raise ValueError(f"samples has shape {data.shape}, x {x.shape}: samples must be [seed, step], one x per step")
    order = np.argsort(x, kind="stable")
    data, x = data[:, order], x[order]
    centre, low, high = interval(data, "geometric" if log and average == "mean" else average, confidence)
    lost = _lost(data, diverged)
    label = f"{label} ({lost})".strip() if lost else label
    at = x
    if x.dtype.kind == "M":
        x = date2num(x)
        ax.xaxis_date()
    kept = np.isfinite(centre)
    if kept.sum() == 1:
        line = dict({"marker": "o"}, **line)
    (drawn,) = ax.plot(x[kept], centre[kept], label=label or None, **line)
    ax.fill_between(x[kept], low[kept], high[kept], color=drawn.get_color(), alpha=0.2, linewidth=0)
    if log:
        ax.set_yscale("log")
    describe(ax, _words(label, texts(at[kept]), (centre[kept], low[kept], high[kept]), len(data)))
    return ax


def _lost(data: np.ndarray, diverged: Values | None) -> str:
    """How many runs diverged or lack steps that others have, in words."""
    if diverged is not None:
        marks = np.atleast_1d(numbers(diverged, "diverged").astype(bool))
        marks = marks.reshape(len(marks), -1)
        if len(marks) != len(data):
            raise ValueError(f"diverged has {len(marks)} runs, samples {len(data)}: give one entry per seed")
        count, word = int(marks.any(axis=1).sum()), "diverged"
    else:
        finite = np.isfinite(data)
        count, word = int((~finite)[:, finite.any(axis=0)].any(axis=1).sum()), "incomplete"
    return f"{count} of {len(data)} {word}" if count else ""


def _words(label: str, at: list[str], averages: Sequence[np.ndarray], runs: int) -> str:
    start = f"{label}: " if label else ""
    if not at:
        return f"{start}no finite value in {runs} runs"
    ends = dict.fromkeys((0, len(at) - 1))
    shown = [f"{interval_words(*(part[k] for part in averages))} at {at[k]}" for k in ends]
    return f"{start}{' to '.join(shown)}, {runs} runs"


def sweep_bands(
    ax: Axes,
    samples,
    x: str,
    hue: str | None = None,
    *,
    over: str = "seed",
    average: Average = "mean",
    confidence: float = 0.95,
    log: bool = False,
    diverged=None,
    **line,
) -> Axes:
    """One band per value of a swept dimension.

    Args:
        samples: DataArray with the dimensions `over`, `x` and, where given, `hue`.
        x, hue: dimension along the axis (`step`, or a swept value); dimension that gives one line per value (its values
            name the lines), 40 at most.
        over: dimension that is averaged.
        diverged: the sweep's mask, whose runs are counted in the legend; NaN alone means that a value is missing.

    Example:
        `sweep_bands(ax, result.test_error, x="step", hue="rho", diverged=result.diverged)`
    """
    if not is_labelled(samples):
        raise ValueError("sweep_bands needs an xarray.DataArray with named dimensions; for plain arrays use band")
    wanted = {over, x, *([hue] if hue else [])}
    if set(samples.dims) != wanted:
        raise ValueError(
            f"samples has dimensions {sorted(map(str, samples.dims))}, needs {sorted(wanted)}: select first"
        )
    draw = partial(band, ax, None, average=average, confidence=confidence, log=log)
    marks = None if diverged is None else diverged.any([dim for dim in diverged.dims if dim not in (over, hue)])
    if hue is None:
        return draw(samples.transpose(over, x), diverged=marks, **line)
    values, title = coordinate(samples, hue)
    styles = line_styles(len(values), title)
    for index, (name, style) in enumerate(zip(texts(values), styles, strict=True)):
        of_value = marks.isel({hue: index}) if marks is not None and hue in marks.dims else marks
        draw(samples.isel({hue: index}).transpose(over, x), name, diverged=of_value, **{**style, **line})
    ax.legend(title=title)
    return ax


def line_styles(count: int, name: str) -> list[dict[str, Any]]:
    """Colour and dash of each of `count` lines, all different.

    Raises:
        ValueError: more than 40 lines, which no reader tells apart.
    """
    if count > len(PALETTE) * len(DASHES):
        raise ValueError(f"{name} has {count} values, and {len(PALETTE) * len(DASHES)} lines can be told apart: select")
    return [
        {"color": PALETTE[k % len(PALETTE)], "linestyle": DASHES[(k + k // (2 * len(PALETTE))) % len(DASHES)]}
        for k in range(count)
    ]
