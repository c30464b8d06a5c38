"""Pictures over a plane: paths on level sets, phase diagrams, heat maps. Diverged cells are hatched, never blank."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch

from workbench.figures.style import PALETTE, VERDICTS, legend_below
from workbench.figures.values import Values, coordinate, is_labelled, label_of, numbers, set_labels

Curve = Callable | tuple[Values, Values]


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
        if not len(kept):
            continue
        colour = PALETTE[index % len(PALETTE)]
        name = labels[index] + ("" if finite.all() else " (diverged)") if labels else None
        ax.plot(*kept.T, color=colour, linewidth=1.6, marker=".", markersize=3, label=name, zorder=3)
        ax.plot(*kept[0], "o", color="white", markeredgecolor=colour, markeredgewidth=1.6, markersize=7, zorder=4)
        ends = "o" if finite.all() else VERDICTS["contradicted"][1]
        ax.plot(*kept[-1], ends, color=colour, markeredgecolor="white", markersize=8, zorder=5)
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
    at = low + (np.geomspace(1e-4, 1.0, levels) if log else np.linspace(0.0, 1.0, levels + 1)[1:]) * (high - low)
    masked = np.ma.masked_invalid(values)
    ax.contourf(x, y, masked, levels=[low, *at], cmap="Greys_r", vmin=low - (high - low), alpha=0.15)
    ax.contour(x, y, masked, levels=at, colors="0.6", linewidths=0.6, alpha=0.8)


def phase_diagram(
    ax: Axes,
    x: Values | str,
    y: Values | str,
    values: Values,
    *,
    boundary: Curve | dict[str, Curve] | None = None,
    diverged: Values | None = None,
    log: str = "",
    log_colour: bool = False,
    label: str = "",
    xlabel: str = "",
    ylabel: str = "",
    **mesh,
) -> Axes:
    """Colour over two parameters, with predicted boundary curves on top and diverged cells hatched.

    Args:
        x, y: [column] and [row] coordinates of the cells' centres, or dimension names of a DataArray.
        values: [row, column], or a DataArray of dimensions x and y.
        boundary: function y(x), pair of arrays (x, y), or a dict label -> one of these.
        diverged: boolean [row, column]; by default the non-finite cells of `values`.
        log: axes that are logarithmic: "", "x", "y" or "xy".
        log_colour: logarithmic colour scale.
        label: of the colour bar, with its unit.
        mesh: passed to `Axes.pcolormesh` (cmap, vmin, vmax, ...).
    """
    if is_labelled(values):
        label = label or label_of(values)
        if not (isinstance(x, str) and isinstance(y, str)):
            raise ValueError("values is a DataArray: give x and y as names of its dimensions")
        names = (y, x)
        values = values.transpose(*names)
        if diverged is not None and is_labelled(diverged):
            diverged = diverged.transpose(*names)
        (x, x_label), (y, y_label) = coordinate(values, names[1]), coordinate(values, names[0])
        xlabel, ylabel = xlabel or x_label, ylabel or y_label
    x, y, cells = numbers(x), numbers(y), numbers(values)
    if cells.shape != (y.size, x.size):
        raise ValueError(f"values has shape {cells.shape}, must be [y, x] = {(y.size, x.size)}: transpose it?")
    lost = ~np.isfinite(cells) if diverged is None else numbers(diverged).astype(bool)
    across, up = _edges(x, "x" in log, "x"), _edges(y, "y" in log, "y")
    shown = np.ma.masked_where(lost | ~np.isfinite(cells), cells)
    if log_colour:
        mesh["norm"] = LogNorm(mesh.pop("vmin", None), mesh.pop("vmax", None))
    drawn = ax.pcolormesh(across, up, shown, linewidth=0, **mesh)
    if shown.count():
        ax.figure.colorbar(drawn, ax=ax, label=label, pad=0.02)
    entries = []
    if lost.any():
        hatched = ax.pcolor(across, up, np.ma.masked_where(~lost, lost), cmap="Greys", vmin=2, vmax=3, hatch="////")
        hatched.set_edgecolor("0.45")
        hatched.set_linewidth(0)
        entries.append(Patch(facecolor="white", edgecolor="0.45", hatch="////", linewidth=0.5, label="diverged"))
    curves = boundary if isinstance(boundary, dict) else {"": boundary} if boundary is not None else {}
    limits = (across[0], across[-1]), (up[0], up[-1])
    for index, (name, curve) in enumerate(curves.items()):
        entries.extend(_boundary(ax, curve, limits, "x" in log, name, index))
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    ax.grid(False)
    if entries:
        legend_below(ax, entries)
    set_labels(ax, xlabel, ylabel)
    return ax


def _boundary(ax, curve, limits, log_x: bool, name: str, index: int) -> list:
    if callable(curve):
        points = (np.geomspace if log_x else np.linspace)(limits[0][0], limits[0][1], 400)
        heights = np.array([float(curve(point)) for point in points])
    else:
        points, heights = (numbers(part) for part in curve)
    style = ["-", "--", ":"][index % 3]
    # White under black shows on every colour of the map.
    ax.plot(points, heights, color="white", linewidth=4.0, zorder=3)
    (line,) = ax.plot(points, heights, color="black", linestyle=style, linewidth=1.8, zorder=4, label=name)
    return [line] if name else []


def _edges(centres: np.ndarray, log: bool, name: str) -> np.ndarray:
    """Cell edges halfway between the centres, on a logarithmic axis halfway in the logarithm."""
    if centres.ndim != 1 or np.any(np.diff(centres) <= 0):
        raise ValueError(f"{name} must be an increasing list of cell centres")
    if log and centres[0] <= 0:
        raise ValueError(f"{name} starts at {centres[0]:g}: a logarithmic axis needs positive values")
    if centres.size == 1:
        return centres[0] * np.array([0.8, 1.25]) if log else centres[0] + np.array([-0.5, 0.5])
    points = np.log(centres) if log else centres
    middle = (points[1:] + points[:-1]) / 2
    edges = np.concatenate([[2 * points[0] - middle[0]], middle, [2 * points[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def heatmap(
    ax: Axes,
    values: Values,
    x: Sequence | np.ndarray | str = (),
    y: Sequence | np.ndarray | str = (),
    *,
    diverged: Values | None = None,
    write: str | None = "{:.3g}",
    label: str = "",
    xlabel: str = "",
    ylabel: str = "",
    **mesh,
) -> Axes:
    """Matrix of cells of equal size with their values written in; diverged (by default non-finite) cells are hatched.

    Args:
        values: [row, column], or a DataArray with `x` and `y` names of its dimensions.
        x, y: names of columns and rows; by default their numbers.
        write: format of the value written in each cell, None for none.
    """
    if is_labelled(values):
        if not (isinstance(x, str) and isinstance(y, str)):
            raise ValueError("values is a DataArray: give x and y as names of its dimensions")
        label, names = label or label_of(values), (y, x)
        values = values.transpose(*names)
        diverged = diverged.transpose(*names) if diverged is not None and is_labelled(diverged) else diverged
        (x, x_label), (y, y_label) = coordinate(values, names[1]), coordinate(values, names[0])
        xlabel, ylabel = xlabel or x_label, ylabel or y_label
    cells = numbers(values)
    if cells.ndim != 2:
        raise ValueError(f"values has shape {cells.shape}: give a matrix [row, column]")
    rows, columns = cells.shape
    lost = ~np.isfinite(cells) if diverged is None else numbers(diverged).astype(bool)
    names_x = [_tick(value) for value in x] if len(x) else [str(k) for k in range(columns)]
    names_y = [_tick(value) for value in y] if len(y) else [str(k) for k in range(rows)]
    if (len(names_y), len(names_x)) != cells.shape:
        raise ValueError(f"values has shape {cells.shape} for {len(names_y)} row and {len(names_x)} column names")
    phase_diagram(ax, np.arange(columns), np.arange(rows), cells, diverged=lost, label=label, **mesh)
    ax.set_xticks(range(columns), names_x)
    ax.set_yticks(range(rows), names_y)
    ax.tick_params(length=0)
    ax.invert_yaxis()
    if write:
        drawn = ax.collections[0]
        for row, column in np.argwhere(~lost):
            shade = drawn.cmap(drawn.norm(cells[row, column]))
            dark = np.dot(shade[:3], [0.299, 0.587, 0.114]) < 0.55
            words = write.format(cells[row, column])
            ax.text(column, row, words, ha="center", va="center", fontsize=10, color="white" if dark else "black")
    set_labels(ax, xlabel, ylabel)
    return ax


def _tick(value) -> str:
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
