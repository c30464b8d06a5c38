"""Room of flat-minima-sco: flat and sharp minima of convex losses, SA-GD's valley, SAM's chain (arXiv:2511.03548)."""

from workbench.papers.flat_minima_sco.bounds import line_ratios, on_line, plateaus, strip_ratios
from workbench.papers.flat_minima_sco.chains import (
    by_unseen,
    chain_constants,
    chain_doubling,
    chain_path,
    chains,
    fails_mostly,
    share_holding,
    slip,
    slip_cases,
)
from workbench.papers.flat_minima_sco.explorer import explorer
from workbench.papers.flat_minima_sco.figures import (
    draw_beyond,
    draw_chain,
    draw_events,
    draw_line,
    draw_minima,
    draw_phase,
    draw_slip,
    draw_state,
    draw_valley,
)
from workbench.papers.flat_minima_sco.minima import (
    certificate,
    corners,
    event_probabilities,
    fresh_losses,
    loss_properties,
    unseen_events,
)
from workbench.papers.flat_minima_sco.unseen_coordinates import tries
from workbench.papers.flat_minima_sco.valley_truths import radius, stability_bound, suffix_risk
from workbench.papers.flat_minima_sco.walks import by_oracle, last_doubling, phase_plane, walks

__all__ = [
    "by_oracle",
    "by_unseen",
    "certificate",
    "chain_constants",
    "chain_doubling",
    "chain_path",
    "chains",
    "corners",
    "draw_beyond",
    "draw_chain",
    "draw_events",
    "draw_line",
    "draw_minima",
    "draw_phase",
    "draw_slip",
    "draw_state",
    "draw_valley",
    "event_probabilities",
    "explorer",
    "fails_mostly",
    "fresh_losses",
    "last_doubling",
    "line_ratios",
    "loss_properties",
    "on_line",
    "phase_plane",
    "plateaus",
    "radius",
    "share_holding",
    "slip",
    "slip_cases",
    "stability_bound",
    "strip_ratios",
    "suffix_risk",
    "tries",
    "unseen_events",
    "walks",
]
