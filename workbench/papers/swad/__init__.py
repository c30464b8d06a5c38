"""Room of swad: averages of weights along leave-one-domain-out runs (arXiv:2102.08604)."""

from workbench.papers.swad.explorer import draw, explorer, trained
from workbench.papers.swad.figures import (
    draw_bounds,
    draw_flatness,
    draw_methods,
    draw_plane,
    draw_run,
    draw_surface,
    draw_switch,
    draw_windows,
)
from workbench.papers.swad.gains import (
    accuracies,
    centre_gain,
    flatness_ratio,
    fluctuations,
    held_out_gain,
    judged,
    own_checkpoints,
)
from workbench.papers.swad.left_out import DIGITS, n_domains
from workbench.papers.swad.study import (
    Experiment,
    bounds,
    compared,
    experiment,
    identity_gap,
    risk_gap,
    shifted_risks,
    study,
    switches,
    window_cases,
)

__all__ = [
    "DIGITS",
    "Experiment",
    "accuracies",
    "bounds",
    "centre_gain",
    "compared",
    "draw",
    "draw_bounds",
    "draw_flatness",
    "draw_methods",
    "draw_plane",
    "draw_run",
    "draw_surface",
    "draw_switch",
    "draw_windows",
    "experiment",
    "explorer",
    "flatness_ratio",
    "fluctuations",
    "held_out_gain",
    "identity_gap",
    "judged",
    "n_domains",
    "own_checkpoints",
    "risk_gap",
    "shifted_risks",
    "study",
    "switches",
    "trained",
    "window_cases",
]
