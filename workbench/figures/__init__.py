"""One plot style and the few plots that several papers share. Every function takes an Axes and returns it."""

from workbench.figures.bands import band, interval, sweep_bands
from workbench.figures.forest import forest
from workbench.figures.planes import heatmap, phase_diagram, trajectory
from workbench.figures.spectra import spectrum_strip
from workbench.figures.style import PALETTE, VERDICTS, use_style

__all__ = [
    "PALETTE",
    "VERDICTS",
    "band",
    "forest",
    "heatmap",
    "interval",
    "phase_diagram",
    "spectrum_strip",
    "sweep_bands",
    "trajectory",
    "use_style",
]
