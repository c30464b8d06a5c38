"""One plot style and the few plots that several papers share. Every function takes an Axes and returns it, and registers in
words what it drew; `show` displays a figure with these words."""

from workbench.figures.bands import band, interval, sweep_bands
from workbench.figures.edges import edge_of_stability
from workbench.figures.forest import forest
from workbench.figures.images import image_strip
from workbench.figures.planes import heatmap, phase_diagram
from workbench.figures.ratios import paired_ratio
from workbench.figures.slopes import loglog
from workbench.figures.spectra import spectrum_strip
from workbench.figures.style import PALETTE, VERDICTS, use_style
from workbench.figures.trajectories import trajectory
from workbench.figures.words import alt_text, describe, show

__all__ = [
    "PALETTE",
    "VERDICTS",
    "alt_text",
    "band",
    "describe",
    "edge_of_stability",
    "forest",
    "heatmap",
    "image_strip",
    "interval",
    "loglog",
    "paired_ratio",
    "phase_diagram",
    "show",
    "spectrum_strip",
    "sweep_bands",
    "trajectory",
    "use_style",
]


def __dir__() -> list[str]:
    return sorted(__all__)
