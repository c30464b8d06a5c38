"""Room of sgd-diagonal-nets: what gradient noise does to the implicit bias of diagonal networks (arXiv:2106.09524)."""

from workbench.papers.sgd_diagonal_nets.effective_initialisation import flow_loss_integral, predicted_limit
from workbench.papers.sgd_diagonal_nets.explorer import draw, explorer
from workbench.papers.sgd_diagonal_nets.figures import (
    draw_alphas,
    draw_decay,
    draw_label_noise,
    draw_run_to_run,
    draw_solutions,
    draw_training,
)
from workbench.papers.sgd_diagonal_nets.study import (
    CONVERGED,
    Arm,
    Study,
    arms,
    decays,
    nearer,
    over_computed_error,
    powers,
    rank_correlations,
    step_name,
)

__all__ = [
    "CONVERGED",
    "Arm",
    "Study",
    "arms",
    "decays",
    "draw",
    "draw_alphas",
    "draw_decay",
    "draw_label_noise",
    "draw_run_to_run",
    "draw_solutions",
    "draw_training",
    "explorer",
    "flow_loss_integral",
    "nearer",
    "over_computed_error",
    "powers",
    "predicted_limit",
    "rank_correlations",
    "step_name",
]
