"""Room of relu-gradient-flow: one-hidden-layer ReLU networks on orthogonal inputs (arXiv:2206.00939)."""

from workbench.papers.relu_gradient_flow.explorer import draw, explorer
from workbench.papers.relu_gradient_flow.figures import draw_alignment, draw_bias, draw_frames, draw_saddles, frames
from workbench.papers.relu_gradient_flow.points import generic, toy
from workbench.papers.relu_gradient_flow.study import (
    alignment,
    crossing_rates,
    descents,
    excess,
    flows,
    settled,
    widths,
)

__all__ = [
    "alignment",
    "crossing_rates",
    "descents",
    "draw",
    "draw_alignment",
    "draw_bias",
    "draw_frames",
    "draw_saddles",
    "excess",
    "explorer",
    "flows",
    "frames",
    "generic",
    "settled",
    "toy",
    "widths",
]
