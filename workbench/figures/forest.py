"""Every claim's interval against its threshold, all units on one axis."""

from collections.abc import Iterable, Mapping

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workbench.claims.verdict import Measurement, Verdict
from workbench.claims.written.regions import TICKS, compressed
from workbench.figures.style import GUIDE, SHADE, VERDICTS, legend_below
from workbench.figures.values import set_labels
from workbench.figures.verdict_rows import beside, rows, sentence
from workbench.figures.words import describe


def forest(ax: Axes, claims: Iterable[Verdict] | Mapping, *, values: bool = True) -> Axes:
    """Draw each claim's estimate and confidence interval against its threshold.

    The axis is the signed distance to the threshold as a share of it (see `workbench.claims.written.regions`), linear near the
    threshold and logarithmic beyond 1 %; the claimed side is on the right and shaded. The verdict shows by colour
    and by marker; a claim that was not measured keeps its row. Make the axes about 0.3 inches tall per row.

    Args:
        claims: verdicts (a list, or `card.verdicts`), or the content of a claims.json.
        values: write estimate, interval and what is claimed beside each row.
    """
    shown = rows(claims)
    if not shown:
        raise ValueError("claims is empty: give at least one verdict")
    ax.axvspan(0, 1.04, color=SHADE, alpha=0.10, linewidth=0)
    ax.axvline(0, color=GUIDE, linewidth=1.2)
    for height, (_, row) in enumerate(shown):
        _interval(ax, height, row)
    ax.set_yticks(range(len(shown)), [name for name, _ in shown])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(-1.04, 1.04)
    ax.set_xticks([compressed(share) for share, _ in TICKS], [text for _, text in TICKS], fontsize=9)
    ax.grid(False, axis="y")
    if values:
        other = ax.secondary_yaxis("right")
        other.set_yticks(range(len(shown)), [beside(row) for _, row in shown], fontsize=9)
        other.tick_params(length=0)
        other.spines["right"].set_visible(False)
    _legend(ax, {row.verdict for _, row in shown})
    set_labels(ax, "distance past the threshold (right: as claimed)")
    describe(ax, "; ".join(sentence(*row) for row in shown))
    return ax


def _interval(ax, height: int, row: Verdict | Measurement) -> None:
    colour, marker = VERDICTS[row.verdict]
    place = None
    if isinstance(row, Measurement):
        low, high = (row.low, row.high) if row.condition.random else (row.estimate, row.estimate)
        place = row.condition.region.position(low, row.estimate, high)
    if place is None:
        ax.text(0.02, height, "not run", color=VERDICTS["not run"][0], va="center", fontsize=9)
        return
    low, middle, high = (compressed(share) for share in place)
    ax.plot([low, high], [height, height], color=colour, linewidth=2.6, solid_capstyle="butt", zorder=3)
    if high > low:
        ax.plot([low, high], [height, height], "|", color=colour, markersize=9, markeredgewidth=1.6, zorder=3)
    ax.plot(middle, height, marker, color=colour, markeredgecolor="white", markersize=9, zorder=4, clip_on=False)


def _legend(ax, seen: set[str]) -> None:
    marks = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markeredgecolor="white", markersize=9, label=verdict)
        for verdict, (colour, marker) in VERDICTS.items()
        if verdict in seen - {"not run"}
    ]
    if marks:
        legend_below(ax, marks)
