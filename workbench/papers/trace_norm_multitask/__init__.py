"""Room of trace-norm-multitask: many small regressions that share a subspace (arXiv:2202.06742)."""

from workbench.papers.trace_norm_multitask.agreement import solvers
from workbench.papers.trace_norm_multitask.explorer import draw, explorer
from workbench.papers.trace_norm_multitask.figures import (
    draw_comparison,
    draw_lambda,
    draw_recovery,
    draw_sizes,
    draw_transfer,
)
from workbench.papers.trace_norm_multitask.rivals import oracle_risk
from workbench.papers.trace_norm_multitask.study import (
    along_lambda,
    along_noise,
    along_sizes,
    around_threshold,
    compare,
    factorised,
    moments_and_kurtosis,
    oracle_risks,
    recovered,
    recovery_map,
    transfer,
)

__all__ = [
    "along_lambda",
    "along_noise",
    "along_sizes",
    "around_threshold",
    "compare",
    "draw",
    "draw_comparison",
    "draw_lambda",
    "draw_recovery",
    "draw_sizes",
    "draw_transfer",
    "explorer",
    "factorised",
    "moments_and_kurtosis",
    "oracle_risk",
    "oracle_risks",
    "recovered",
    "recovery_map",
    "solvers",
    "transfer",
]
