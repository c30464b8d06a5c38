"""One look for every figure: readable at notebook width, in print, and without colour vision."""

import os
import sys
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from workbench.claims.shown.words import COLOURS

PALETTE = tuple(sns.color_palette("colorblind").as_hex())

#: Verdict -> (colour, matplotlib marker): the colours of `claims.shown.words`; the marker says the same without any colour.
VERDICTS = {
    verdict: (COLOURS[verdict], marker) for verdict, marker in zip(COLOURS, ("o", "X", "D", "p", ""), strict=True)
}

#: Shades of the things that lie behind the data.
SHADE = "#029e73"
GUIDE = "#4d4d4d"


def use_style() -> None:
    """Apply the workbench's figure style to matplotlib, for this process.

    Seaborn's theme with the `colorblind` palette, PNG at 100 dpi (a 7.5 inch figure fills a notebook's column
    without scaling), constrained layout, and settings under which the same data give the same bytes, as PNG, SVG and PDF.

    >>> use_style()
    >>> mpl.rcParams["figure.dpi"]
    100.0
    """
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.figsize": (7.5, 4.0),
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.labelsize": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.title_fontsize": 10,
            "legend.frameon": True,
            "legend.framealpha": 0.9,
            "legend.edgecolor": "0.85",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "0.92",
            "grid.linewidth": 0.8,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "hatch.linewidth": 0.7,
            "hatch.color": GUIDE,
            "image.cmap": "viridis",
            # Element ids of an SVG are random without a salt, and text as outlines differs between font versions.
            "svg.hashsalt": "workbench",
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
        }
    )
    # Otherwise SVG and PDF hold the time at which they were written.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    _draw_once()


def _draw_once() -> None:
    """Keep notebooks from cropping figures: that draws each of them twice, and constrained layout leaves no margin."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from matplotlib_inline.config import InlineBackend

        uncropped: dict[str, Any] = {"bbox_inches": None}
        InlineBackend.instance(parent=shell).print_figure_kwargs = uncropped


def legend_below(ax: Axes, handles) -> None:
    """Legend in one row under the x label, where it hides neither data nor title."""
    below = ax.transAxes + ScaledTranslation(0, -42 / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        ncols=len(handles),
        borderaxespad=0,
        frameon=False,
        handletextpad=0.5,
    )
