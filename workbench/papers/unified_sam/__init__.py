"""Room of unified-sam: one theorem from USAM to SAM under arbitrary sampling (arXiv:2503.02225)."""

from workbench.papers.unified_sam import cifar, deterministic, exact, figures, stochastic, theory
from workbench.papers.unified_sam.explorer import draw, explorer
from workbench.papers.unified_sam.networks import WEIGHTS, Digits, gains
from workbench.papers.unified_sam.regressions import log_spectrum
from workbench.papers.unified_sam.step_sizes import off_the_printed, simplified_over_allowed

__all__ = [
    "WEIGHTS",
    "Digits",
    "cifar",
    "deterministic",
    "draw",
    "exact",
    "explorer",
    "figures",
    "gains",
    "log_spectrum",
    "off_the_printed",
    "simplified_over_allowed",
    "stochastic",
    "theory",
]
