"""Room of understanding-sam: which displacement generalises, and why (arXiv:2206.06232)."""

from workbench.papers.understanding_sam.cifar import kind_of, validation_errors
from workbench.papers.understanding_sam.convergence import alignment, deterministic, nonconvex, two_cycle, under_pl
from workbench.papers.understanding_sam.diagonal_study import (
    CONVERGED,
    DiagonalStudy,
    against,
    lengths,
    log_distance,
    notebook_values,
    shape_correlation,
    stalled,
)
from workbench.papers.understanding_sam.digits_figures import (
    draw_changes,
    draw_flatness,
    draw_noisy_labels,
    draw_second_trainings,
)
from workbench.papers.understanding_sam.digits_study import DigitsStudy, change, early_stopped, without_barrier
from workbench.papers.understanding_sam.explorer import draw, explorer
from workbench.papers.understanding_sam.figures import (
    draw_convergence,
    draw_decay,
    draw_finetuning,
    draw_groups,
    draw_late,
    draw_radius,
    draw_relu,
    draw_shape,
    draw_training,
)
from workbench.papers.understanding_sam.relu_study import fits
from workbench.papers.understanding_sam.theory import along_the_flow, distance_ratios, over_computed_error

__all__ = [
    "CONVERGED",
    "DiagonalStudy",
    "DigitsStudy",
    "against",
    "alignment",
    "along_the_flow",
    "change",
    "deterministic",
    "distance_ratios",
    "draw",
    "draw_changes",
    "draw_convergence",
    "draw_decay",
    "draw_finetuning",
    "draw_flatness",
    "draw_groups",
    "draw_late",
    "draw_noisy_labels",
    "draw_radius",
    "draw_relu",
    "draw_second_trainings",
    "draw_shape",
    "draw_training",
    "early_stopped",
    "explorer",
    "fits",
    "kind_of",
    "lengths",
    "log_distance",
    "nonconvex",
    "notebook_values",
    "over_computed_error",
    "shape_correlation",
    "stalled",
    "two_cycle",
    "under_pl",
    "validation_errors",
    "without_barrier",
]
