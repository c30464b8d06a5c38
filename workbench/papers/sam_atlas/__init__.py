"""The SAM atlas: every sharpness-aware rule on quadratics and in one fair trial."""

from workbench.optimizers.sam.atlas import as_markdown
from workbench.papers.sam_atlas.explorer import draw, explorer
from workbench.papers.sam_atlas.figures import draw_cycles, draw_saddles, draw_trial
from workbench.papers.sam_atlas.methods import METHODS
from workbench.papers.sam_atlas.quadratics import cycles, filter_edges, mismatches, narrow, noise_floor, saddles
from workbench.papers.sam_atlas.reference import farthest
from workbench.papers.sam_atlas.study import at_one_step, between, contest, gain, gains, log_sharpness, summary
from workbench.papers.sam_atlas.tasks import Task, available, tasks
from workbench.papers.sam_atlas.trial import Method
from workbench.papers.sam_atlas.tuning import GRIDS, Grid, records, tuned, tuned_row

__all__ = [
    "GRIDS",
    "METHODS",
    "Grid",
    "Method",
    "Task",
    "as_markdown",
    "at_one_step",
    "available",
    "between",
    "contest",
    "cycles",
    "draw",
    "draw_cycles",
    "draw_saddles",
    "draw_trial",
    "explorer",
    "farthest",
    "filter_edges",
    "gain",
    "gains",
    "log_sharpness",
    "mismatches",
    "narrow",
    "noise_floor",
    "records",
    "saddles",
    "summary",
    "tasks",
    "tuned",
    "tuned_row",
]
