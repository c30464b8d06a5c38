"""Room of trace-norm-multitask: many small regressions that share a subspace (arXiv:2202.06742)."""

from workbench.papers.trace_norm_multitask.explorer import draw, explorer
from workbench.papers.trace_norm_multitask.figures import draw_comparison, draw_lambda, draw_recovery, draw_transfer
from workbench.papers.trace_norm_multitask.study import (
    along_lambda,
    along_noise,
    around_threshold,
    compare,
    factorised,
    moments_and_kurtosis,
    oracle_risks,
    recovered,
    transfer,
)

__all__ = [
    "along_lambda",
    "along_noise",
    "around_threshold",
    "compare",
    "draw",
    "draw_comparison",
    "draw_lambda",
    "draw_recovery",
    "draw_transfer",
    "explorer",
    "factorised",
    "moments_and_kurtosis",
    "oracle_risks",
    "recovered",
    "transfer",
]
