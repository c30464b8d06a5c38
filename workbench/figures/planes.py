"""Colour over two parameters: phase diagrams and heat maps. No cell is blank: hatched are those that diverged,
dotted those that are missing, crossed those that a logarithmic scale has no colour for."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch

from workbench.figures.style import legend_below
from workbench.figures.values import Values, coordinate, is_labelled, label_of, numbers, set_labels, texts
from workbench.figures.words import describe

Curve = Callable | tuple[Values, Values]
MOST_WRITTEN = 400
HATCHES = {"diverged": "////", "missing": "..", "off the scale": "xx"}


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
    """Colour over two parameters, with predicted boundary curves on top.

    Cells that diverged are hatched, missing ones dotted, those off a logarithmic scale (zero, negative) or infinite crossed.

    Args:
        x, y: [column] and [row] coordinates of the cells' centres, or dimension names of a DataArray.
        values: [row, column], or a DataArray of dimensions x and y; what is not finite and did not diverge is missing.
        boundary: function y(x), pair of arrays (x, y), or a dict label -> one of these.
        diverged: boolean [row, column]: `sweep(...).diverged`.
        log: axes that are logarithmic: "", "x", "y" or "xy".
        log_colour: logarithmic colour scale.
        label: of the colour bar, with its unit.
        mesh: passed to `Axes.pcolormesh` (cmap, vmin, vmax, ...).

    Raises:
        ValueError: shapes that do not fit, centres that do not increase or are no numbers, complex values.
    """
    x_name, y_name = "x", "y"
    if is_labelled(values):
        label = label or label_of(values)
        if not (isinstance(x, str) and isinstance(y, str)):
            raise ValueError("values is a DataArray: give x and y as names of its dimensions")
        names = (y_name, x_name) = (y, x)
        values = values.transpose(*names)
        if diverged is not None and is_labelled(diverged):
            diverged = diverged.transpose(*names)
        (x, x_label), (y, y_label) = coordinate(values, names[1]), coordinate(values, names[0])
        xlabel, ylabel = xlabel or x_label, ylabel or y_label
    x, y, cells = numbers(x, x_name), numbers(y, y_name), numbers(values)
    if cells.shape != (y.size, x.size):
        raise ValueError(f"values has shape {cells.shape}, must be [y, x] = {(y.size, x.size)}: transpose it?")
    across, up = _edges(x, "x" in log, x_name), _edges(y, "y" in log, y_name)
    marks = _marks(cells, diverged, log_colour)
    shown = np.ma.masked_where(np.any(list(marks.values()), axis=0), cells)
    if log_colour:
        mesh["norm"] = _log_norm(shown, mesh.pop("vmin", None), mesh.pop("vmax", None))
    drawn = ax.pcolormesh(across, up, shown, linewidth=0, **mesh)
    if shown.count():
        ax.figure.colorbar(drawn, ax=ax, label=label, pad=0.02)
    entries = [_hatch(ax, across, up, marked, name) for name, marked in marks.items() if marked.any()]
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
    describe(ax, _cells_in_words(shown, marks, label, [name for name in curves if name]))
    return ax


def _marks(cells: np.ndarray, diverged: Values | None, log_colour: bool) -> dict[str, np.ndarray]:
    """Which cells have no colour, by reason; every such cell has one reason."""
    lost = np.zeros(cells.shape, dtype=bool) if diverged is None else numbers(diverged, "diverged").astype(bool)
    if lost.shape != cells.shape:
        raise ValueError(f"diverged has shape {lost.shape}, values {cells.shape}: give one entry per cell")
    missing = ~lost & np.isnan(cells)
    off = ~lost & ~missing & (np.isinf(cells) | ((cells <= 0) if log_colour else False))
    return {"diverged": lost, "missing": missing, "off the scale": off}


def _log_norm(shown: np.ma.MaskedArray, low: float | None, high: float | None) -> LogNorm:
    """A logarithmic norm that also stands where no cell, or one value alone, is on the scale."""
    found = shown.compressed()
    low = low if low is not None else found.min() if found.size else 1.0
    high = high if high is not None else found.max() if found.size else 10.0
    if not 0 < low <= high:
        raise ValueError(f"log_colour needs 0 < vmin <= vmax, got vmin={low:g} and vmax={high:g}")
    return LogNorm(low, high if high > low else 1.01 * low)


def _hatch(ax, across, up, marked: np.ndarray, name: str) -> Patch:
    drawn = ax.pcolor(
        across, up, np.ma.masked_where(~marked, marked), cmap="Greys", vmin=2, vmax=3, hatch=HATCHES[name]
    )
    drawn.set_edgecolor("0.45")
    drawn.set_linewidth(0)
    return Patch(facecolor="white", edgecolor="0.45", hatch=HATCHES[name], linewidth=0.5, label=name)


def _cells_in_words(shown: np.ma.MaskedArray, marks: dict[str, np.ndarray], label: str, curves: list[str]) -> str:
    found = shown.compressed()
    words = f"{label or 'values'} from {found.min():.3g} to {found.max():.3g}" if found.size else "no value"
    counts = [f"{int(marked.sum())} {name}" for name, marked in marks.items() if marked.any()]
    lines = [f"with the boundary {', '.join(curves)}"] if curves else []
    return f"{', '.join([words, *counts])} of {shown.size} cells{' ' if lines else ''}{''.join(lines)}"


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
    if centres.ndim != 1 or not centres.size or not np.isfinite(centres).all() or np.any(np.diff(centres) <= 0):
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
    """Matrix of cells of equal size with their values written in, marked as in `phase_diagram` where they have none.

    Args:
        values: [row, column], or a DataArray with `x` and `y` names of its dimensions.
        x, y: names of columns and rows; by default their numbers.
        diverged: boolean [row, column]: `sweep(...).diverged`.
        write: format of the value written in each cell, None for none; no value is written in matrices of over 400 cells.
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
    names_x = texts(x) if len(x) else [str(k) for k in range(columns)]
    names_y = texts(y) if len(y) else [str(k) for k in range(rows)]
    if (len(names_y), len(names_x)) != cells.shape:
        raise ValueError(f"values has shape {cells.shape} for {len(names_y)} row and {len(names_x)} column names")
    phase_diagram(ax, np.arange(columns), np.arange(rows), cells, diverged=diverged, label=label, **mesh)
    ax.set_xticks(range(columns), names_x)
    ax.set_yticks(range(rows), names_y)
    ax.tick_params(length=0)
    ax.invert_yaxis()
    if write and cells.size <= MOST_WRITTEN:
        drawn = ax.collections[0]
        coloured = ~np.ma.getmaskarray(np.ma.asarray(drawn.get_array())).reshape(cells.shape)
        for row, column in np.argwhere(coloured):
            shade = drawn.cmap(drawn.norm(cells[row, column]))
            dark = np.dot(shade[:3], [0.299, 0.587, 0.114]) < 0.55
            words = write.format(cells[row, column])
            ax.text(column, row, words, ha="center", va="center", fontsize=10, color="white" if dark else "black")
    set_labels(ax, xlabel, ylabel)
    return ax
