"""Room of deep-matrix-factorization: exact sharpness at every minimiser of a deep linear network (arXiv:2509.25783)."""

from workbench.papers.deep_matrix_factorization.explorer import draw, explorer
from workbench.papers.deep_matrix_factorization.figures import draw_ceiling, draw_escape, draw_exactness, draw_plane
from workbench.papers.deep_matrix_factorization.leaving import ceiling, edge, escapes, growth
from workbench.papers.deep_matrix_factorization.study import (
    depth_two,
    exactness,
    flat_points,
    gauge_path,
    pair_and_triple,
    with_data,
)

__all__ = [
    "ceiling",
    "depth_two",
    "draw",
    "draw_ceiling",
    "draw_escape",
    "draw_exactness",
    "draw_plane",
    "edge",
    "escapes",
    "exactness",
    "explorer",
    "flat_points",
    "gauge_path",
    "growth",
    "pair_and_triple",
    "with_data",
]
