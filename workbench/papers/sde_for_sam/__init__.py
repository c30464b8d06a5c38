"""Room of sde-for-sam: stochastic differential equations of USAM, DNSAM and SAM (arXiv:2301.08203)."""

from workbench.papers.sde_for_sam import basin_explorer, explorer
from workbench.papers.sde_for_sam.figures import (
    draw_basin,
    draw_embedded,
    draw_escape,
    draw_one_step,
    draw_tracking,
    draw_variances,
    draw_weak_errors,
)
from workbench.papers.sde_for_sam.networks import tumours
from workbench.papers.sde_for_sam.one_step import one_step_errors, regulariser_differences
from workbench.papers.sde_for_sam.projected_normal import kappa
from workbench.papers.sde_for_sam.quadrature import closed_form_errors
from workbench.papers.sde_for_sam.saddles import embedded_losses, escaped, mismatches
from workbench.papers.sde_for_sam.study import (
    basins,
    embedded_arms,
    guarded_errors,
    last_slope,
    threshold_map,
    variance_samples,
)
from workbench.papers.sde_for_sam.tracking import curves, error_metric
from workbench.papers.sde_for_sam.weak_order import weak_errors_quadratic

__all__ = [
    "basin_explorer",
    "basins",
    "closed_form_errors",
    "curves",
    "draw_basin",
    "draw_embedded",
    "draw_escape",
    "draw_one_step",
    "draw_tracking",
    "draw_variances",
    "draw_weak_errors",
    "embedded_arms",
    "embedded_losses",
    "error_metric",
    "escaped",
    "explorer",
    "guarded_errors",
    "kappa",
    "last_slope",
    "mismatches",
    "one_step_errors",
    "regulariser_differences",
    "threshold_map",
    "tumours",
    "variance_samples",
    "weak_errors_quadratic",
]
