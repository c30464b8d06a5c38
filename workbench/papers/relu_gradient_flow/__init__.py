"""Room of relu-gradient-flow: one-hidden-layer ReLU networks on orthogonal inputs (arXiv:2206.00939)."""

from workbench.papers.relu_gradient_flow.beyond import five_points, oblique
from workbench.papers.relu_gradient_flow.convex import least_variation_norm, outside
from workbench.papers.relu_gradient_flow.explorer import draw, explorer
from workbench.papers.relu_gradient_flow.figures import (
    draw_alignment,
    draw_beyond,
    draw_bias,
    draw_frames,
    draw_polar,
    draw_saddles,
)
from workbench.papers.relu_gradient_flow.outcome import widths
from workbench.papers.relu_gradient_flow.points import generic, random_orthogonal, toy
from workbench.papers.relu_gradient_flow.study import (
    alignment,
    crossing_rates,
    descents,
    excess,
    flows,
    frames,
    settled,
    time_tolerance,
)

__all__ = [
    "alignment",
    "crossing_rates",
    "descents",
    "draw",
    "draw_alignment",
    "draw_beyond",
    "draw_bias",
    "draw_frames",
    "draw_polar",
    "draw_saddles",
    "excess",
    "explorer",
    "five_points",
    "flows",
    "frames",
    "generic",
    "least_variation_norm",
    "oblique",
    "outside",
    "random_orthogonal",
    "settled",
    "time_tolerance",
    "toy",
    "widths",
]
