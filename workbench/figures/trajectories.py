"""Paths of two parameters over the level sets of their loss."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from workbench.figures.style import PALETTE, VERDICTS
from workbench.figures.values import Values, numbers, set_labels
from workbench.figures.words import describe


def trajectory(
    ax: Axes,
    loss: Callable | tuple[Values, Values, Values] | None,
    paths: Sequence[Values] | Values,
    labels: Sequence[str] = (),
    *,
    extent: tuple[float, float, float, float] | None = None,
    levels: int = 16,
    log: bool = True,
    xlabel: str = "",
    ylabel: str = "",
) -> Axes:
    """Paths over the level sets of a loss: open circle at the start, dot at the end (a cross if diverged).

    Args:
        loss: function of a tensor of two parameters (vmapped over the plane), or (x, y, values[y, x]), or None.
        paths: one [step, 2] array per path, or one [path, step, 2] array.
        labels: legend entries, one per path.
        extent: (x low, x high, y low, y high) of the plane; by default the finite part of the paths with a margin.
        levels: number of level sets.
        log: levels at equal distances of the logarithm of the loss above its smallest value on the plane.
    """
    if np.ndim(paths[0]) == 1:
        raise ValueError("paths holds a single [step, 2] path: wrap it in a list, paths=[path]")
    tracks = [numbers(path) for path in paths]
    for track in tracks:
        if track.ndim != 2 or track.shape[1] != 2:
            raise ValueError(f"a path has shape {track.shape}: give [step, 2], two parameters per step")
    if labels and len(labels) != len(tracks):
        raise ValueError(f"{len(tracks)} paths but {len(labels)} labels: give one label per path")
    if extent is None:
        extent = _extent(tracks)
    if loss is not None:
        x, y, values = _plane(loss, extent)
        _level_sets(ax, x, y, values, levels, log)
    for index, track in enumerate(tracks):
        finite = np.isfinite(track).all(axis=1)
        kept = track[: len(track) if finite.all() else int(np.argmin(finite))]
        colour = PALETTE[index % len(PALETTE)]
        name = labels[index] + ("" if finite.all() else " (diverged)") if labels else None
        if not len(kept):
            ax.plot([], [], color=colour, label=labels[index] + " (no finite start)" if labels else None)
            describe(ax, f"{labels[index] if labels else f'path {index + 1}'} has no finite start")
            continue
        ax.plot(*kept.T, color=colour, linewidth=1.6, marker=".", markersize=3, label=name, zorder=3)
        ax.plot(*kept[0], "o", color="white", markeredgecolor=colour, markeredgewidth=1.6, markersize=7, zorder=4)
        ends = "o" if finite.all() else VERDICTS["contradicted"][1]
        ax.plot(*kept[-1], ends, color=colour, markeredgecolor="white", markersize=8, zorder=5)
        where = ", ".join(f"{entry:.3g}" for entry in kept[-1])
        told = f"ends at ({where})" if finite.all() else f"diverges after {len(kept) - 1} steps"
        describe(ax, f"{labels[index] if labels else f'path {index + 1}'} {told}")
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])
    ax.grid(False)
    if labels:
        ax.legend()
    set_labels(ax, xlabel, ylabel)
    return ax


def _extent(tracks) -> tuple[float, float, float, float]:
    kept = [track[np.isfinite(track).all(axis=1)] for track in tracks]
    kept = [track for track in kept if len(track)]
    if not kept:
        raise ValueError("no path has a finite point: give extent=(x low, x high, y low, y high)")
    # A diverging run would shrink all others to a dot: points far beyond every start and the typical end are left out.
    ends = [track[-1] for track in tracks if np.isfinite(track).all()] or np.concatenate(kept)
    reach = max(np.abs([track[0] for track in kept]).max(), np.median(np.abs(np.array(ends)).max(axis=1)))
    points = np.concatenate([track[np.abs(track).max(axis=1) <= 3 * reach] for track in kept])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-3 * np.maximum(np.abs(high), 1e-9))
    low, high = low - margin, high + margin
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _plane(loss, extent, points: int = 161):
    if not callable(loss):
        return tuple(numbers(part) for part in loss)
    import torch  # only for losses given as functions, which are functions of tensors

    x = torch.linspace(extent[0], extent[1], points, dtype=torch.float64)
    y = torch.linspace(extent[2], extent[3], points, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return numbers(x), numbers(y), numbers(torch.func.vmap(torch.func.vmap(loss))(grid))


def _level_sets(ax, x, y, values, levels, log) -> None:
    finite = values[np.isfinite(values)]
    if not finite.size or not finite.max() > finite.min():
        return
    low, high = finite.min(), finite.max()
    # A nearly constant loss has fewer levels than asked for: rounding makes neighbours equal.
    at = np.unique(
        low + (np.geomspace(1e-4, 1.0, levels) if log else np.linspace(0.0, 1.0, levels + 1)[1:]) * (high - low)
    )
    at = at[at > low]
    if not at.size:
        return
    masked = np.ma.masked_invalid(values)
    ax.contourf(x, y, masked, levels=[low, *at], cmap="Greys_r", vmin=low - (high - low), alpha=0.15)
    ax.contour(x, y, masked, levels=at, colors="0.6", linewidths=0.6, alpha=0.8)
