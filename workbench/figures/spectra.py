"""Spectra as strips: every eigenvalue a tick, the optimizer's pass band behind them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from workbench.figures.style import PALETTE, SHADE, VERDICTS
from workbench.figures.values import Values, numbers, set_labels
from workbench.figures.words import describe

Intervals = Sequence[tuple[float, float]]


def spectrum_strip(
    ax: Axes,
    spectra: Sequence[Values],
    labels: Sequence[str],
    *,
    band: Intervals | Sequence[Intervals] | None = None,
    linear: float | None = None,
    slack: float = 1e-6,
    xlabel: str = r"Hessian eigenvalue $\lambda$",
) -> Axes:
    """Draw each spectrum as one horizontal strip with a tick per eigenvalue and a dot at the largest.

    Args:
        spectra: one array of eigenvalues per strip ([eigenvalue], or [run, eigenvalue] to show many runs in one strip).
        labels: one per strip, top to bottom.
        band: closed intervals shaded as the pass band, as `admissible_set` returns them: one list for all strips, or
            one list per strip. Eigenvalues outside it by more than `slack` (relative) are drawn in the colour of
            contradicted claims and counted in the strip's label.
        linear: half-width of the linear part of a symmetric logarithmic axis; None keeps the axis linear.
        slack: tolerance at the band's ends, relative to the end's magnitude (absolute below 1).
    """
    if len(spectra) != len(labels):
        raise ValueError(f"{len(spectra)} spectra but {len(labels)} labels: give one label per spectrum")
    rows = [numbers(values, f"the spectrum {label!r}").ravel() for values, label in zip(spectra, labels, strict=True)]
    rows = [row[np.isfinite(row)] for row in rows]
    bands = _per_strip(band, len(rows))
    ends = np.concatenate([*rows, [end for one in bands for pair in one for end in pair if np.isfinite(end)]])
    low, high = (ends.min(), ends.max()) if ends.size else (0.0, 1.0)
    margin = 0.04 * ((high - low) or 1.0)
    if linear is not None:
        ax.set_xscale("symlog", linthresh=linear)
        low, high, margin = min(low * 1.3, -linear / 2), high * 1.3, 0.0
    ax.set_xlim(low - margin, high + margin)
    names = []
    for position, (row, passed, label) in enumerate(zip(rows, bands, labels, strict=True)):
        for left, right in passed:
            left, right = max(left, low - margin), min(right, high + margin)
            ax.fill_betweenx([position - 0.45, position + 0.45], left, right, color=SHADE, alpha=0.13, linewidth=0)
            ax.vlines([left, right], position - 0.45, position + 0.45, color=SHADE, linewidth=1.2)
        outside = _outside(row, passed, slack) if passed else np.zeros(row.shape, dtype=bool)
        # Many runs pile hundreds of ticks on one strip: fainter ticks keep the density visible.
        alpha = float(np.clip(40 / max(row.size, 1), 0.12, 0.9))
        ax.vlines(row[~outside], position - 0.28, position + 0.28, color=PALETTE[0], linewidth=1.0, alpha=alpha)
        colour, marker = VERDICTS["contradicted"]
        ax.vlines(row[outside], position - 0.36, position + 0.36, color=colour, linewidth=1.4)
        if row.size:
            top = int(row.argmax())
            ax.plot(
                row[top],
                position,
                marker if outside[top] else "o",
                color=colour if outside[top] else PALETTE[0],
                markersize=9 if outside[top] else 7,
                markeredgecolor="white",
                clip_on=False,
                zorder=4,
            )
        names.append(f"{label}\n({int(outside.sum())} outside)" if outside.any() else label)
        told = f"{label}: {row.size} eigenvalues"
        told += f" from {row.min():.3g} to {row.max():.3g}" if row.size else ""
        describe(ax, f"{told}, {int(outside.sum())} outside the pass band" if passed else told)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    set_labels(ax, xlabel)
    return ax


def _per_strip(band, count: int) -> list[list[tuple[float, float]]]:
    """One list of intervals per strip, from none, a shared list of pairs or a list of lists."""
    if band is None:
        return [[] for _ in range(count)]
    band = list(band)
    if band and all(np.shape(pair) == (2,) for pair in band):
        band = [band] * count
    if len(band) != count:
        raise ValueError(
            f"band has {len(band)} entries for {count} spectra: give one list of intervals, or one per spectrum"
        )
    return [[(float(low), float(high)) for low, high in one] for one in band]


def _outside(row: np.ndarray, passed: Intervals, slack: float) -> np.ndarray:
    inside = [
        (row >= low - slack * max(1.0, abs(low))) & (row <= high + slack * max(1.0, abs(high))) for low, high in passed
    ]
    return ~np.any(inside, axis=0)
