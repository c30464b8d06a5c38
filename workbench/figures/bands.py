"""A line over seeds with the interval that the claims use: Student's t, not a bootstrap."""

from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from workbench.figures.values import Values, coordinate, is_labelled, label_of, numbers, set_labels

Average = Literal["mean", "geometric", "median"]


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
    data = numbers(samples)
    if data.ndim == 0:
        raise ValueError("samples is a single number: give an array whose first axis is the seed")
    data = np.where(np.isfinite(data), data, np.nan)
    if average == "median":
        return _median_interval(data, confidence)
    if average == "geometric":
        if np.any(data <= 0):
            raise ValueError("average='geometric' needs positive samples; use 'mean' or 'median' for values <= 0")
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
    xlabel: str = "",
    ylabel: str = "",
    **line,
) -> Axes:
    """Average over seeds as a line, its confidence interval as a band.

    Runs that diverge (non-finite samples) leave the average at the step where they do, and the legend counts them.

    Args:
        x: [step]; None takes the coordinate of labelled samples.
        samples: [seed, step] array, tensor or DataArray (whose dimension `seed` or `run`, else the first, is averaged).
        label: legend entry.
        average: `mean`, `geometric` (for losses, ratios, times) or `median`; see `interval`.
        log: logarithmic y axis; a mean is then the geometric mean.
        line: passed to `Axes.plot` (color, linestyle, marker, ...).
    """
    if is_labelled(samples):
        over = next((dim for dim in ("seed", "run") if dim in samples.dims), samples.dims[0])
        samples = samples.transpose(over, ...)
        if len(samples.dims) != 2:
            raise ValueError(f"samples has dimensions {tuple(samples.dims)}: select so that two remain, {over!r} and x")
        axis, axis_label = coordinate(samples, samples.dims[1])
        x = axis if x is None else x
        set_labels(ax, xlabel or axis_label, ylabel or label_of(samples))
    elif x is None:
        raise ValueError("x=None needs samples with coordinates (an xarray.DataArray): give the steps as x")
    set_labels(ax, xlabel or label_of(x), ylabel)
    data, x = numbers(samples), numbers(x)
    if data.ndim != 2 or data.shape[1] != x.size:
        raise ValueError(f"samples has shape {data.shape}, x {x.shape}: samples must be [seed, step], one x per step")
    centre, low, high = interval(data, "geometric" if log and average == "mean" else average, confidence)
    lost = int((~np.isfinite(data)).any(axis=1).sum())
    if lost:
        label = f"{label} ({lost} of {len(data)} diverged)".strip()
    (drawn,) = ax.plot(x, centre, label=label or None, **line)
    ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)
    if log:
        ax.set_yscale("log")
    return ax


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
    **line,
) -> Axes:
    """One band per value of a swept dimension.

    Args:
        samples: DataArray with the dimensions `over`, `x` and, where given, `hue`.
        x, hue: dimension along the axis; dimension that gives one line per value (its values name the lines).
        over: dimension that is averaged.

    Example:
        `sweep_bands(ax, result.test_error, x="step", hue="rho")`
    """
    if not is_labelled(samples):
        raise ValueError("sweep_bands needs an xarray.DataArray with named dimensions; for plain arrays use band")
    wanted = {over, x, *([hue] if hue else [])}
    if set(samples.dims) != wanted:
        raise ValueError(
            f"samples has dimensions {sorted(map(str, samples.dims))}, needs {sorted(wanted)}: select first"
        )
    draw = partial(band, ax, None, average=average, confidence=confidence, log=log)
    if hue is None:
        return draw(samples.transpose(over, x), **line)
    values, title = coordinate(samples, hue)
    marks = ["-", "--", "-.", ":"]
    for index, value in enumerate(values):
        name = f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
        style: dict[str, Any] = {"linestyle": marks[index % len(marks)], **line}
        draw(samples.isel({hue: index}).transpose(over, x), name, **style)
    ax.legend(title=title)
    return ax
