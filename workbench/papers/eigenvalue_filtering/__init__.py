"""Room of eigenvalue-filtering: limits of optimizers and the spectra at them (arXiv:2510.09034)."""

from workbench.papers.eigenvalue_filtering.exact import mismatches, radius_errors
from workbench.papers.eigenvalue_filtering.explorer import draw, explorer
from workbench.papers.eigenvalue_filtering.minibatches import accuracy_gaps, digits, falls
from workbench.papers.eigenvalue_filtering.minima import (
    basins,
    cells_attained,
    critical_step_sizes,
    exceptional_starts,
    factorisation_limits,
    mirror,
    released,
    two_cycle,
)
from workbench.papers.eigenvalue_filtering.networks import (
    counts,
    designed,
    edge_slopes,
    histories,
    momentum_order,
    ordering,
    problem,
    seed_slopes,
    trained,
)
from workbench.papers.eigenvalue_filtering.pictures import (
    draw_basins,
    draw_diagram,
    draw_digits,
    draw_edges,
    draw_filters,
    draw_histories,
    draw_mirror,
    draw_saddles,
    draw_spectra,
)
from workbench.papers.eigenvalue_filtering.saddles import OTHERS, PASSING, attracted, diagram, rate_errors

__all__ = [
    "OTHERS",
    "PASSING",
    "accuracy_gaps",
    "attracted",
    "basins",
    "cells_attained",
    "counts",
    "critical_step_sizes",
    "designed",
    "diagram",
    "digits",
    "draw",
    "draw_basins",
    "draw_diagram",
    "draw_digits",
    "draw_edges",
    "draw_filters",
    "draw_histories",
    "draw_mirror",
    "draw_saddles",
    "draw_spectra",
    "edge_slopes",
    "exceptional_starts",
    "explorer",
    "factorisation_limits",
    "falls",
    "histories",
    "mirror",
    "mismatches",
    "momentum_order",
    "ordering",
    "problem",
    "radius_errors",
    "rate_errors",
    "released",
    "seed_slopes",
    "trained",
    "two_cycle",
]
