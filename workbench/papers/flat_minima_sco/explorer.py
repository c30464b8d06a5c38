"""Where sharpness-aware gradient descent ends in the valley, from closed forms only (arXiv:2511.03548, Theorem 3)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.flat_minima_sco.valley_truths import limit_risk, suffix_risk, valley_saer

ITERATES = (16, 64, 256)
_CELLS = 60


@dataclass(frozen=True)
class Picture:
    """What the explorer shows at one point."""

    shares: Float[np.ndarray, " tau"]
    risks: Float[np.ndarray, " tau"]
    tau: int
    risk: float
    limit: float
    least: float
    saer: float
    words: str


def compute(rho: float = 0.1, c: float = 1.0, T: int = 256, share: float = 0.0) -> Picture:
    """Risks of all suffix averages; the one that leaves out the first `share` of the iterates is marked.

    Raises ValueError for values outside rho >= 0, 0 < c <= 1, T >= 1, 0 <= share <= 1.
    """
    if not (rho >= 0 and 0 < c <= 1 and T >= 1 and 0 <= share <= 1):
        raise ValueError(f"needs rho >= 0, 0 < c <= 1, T >= 1, share in [0, 1]; got {rho=}, {c=}, {T=}, {share=}")
    taus = np.arange(1, T + 1)
    tau = min(T, 1 + int(share * T))
    risks = suffix_risk(rho, c, T, taus)
    if rho < c / 3:
        words = "covered by the theorem (rho < c/3)"
    elif rho < c / np.sqrt(3):
        words = "beyond the theorem, the effect is still there (rho < c/sqrt 3)"
    else:
        words = "no effect in the limit (rho >= c/sqrt 3)"
    return Picture(
        taus / T, risks, tau, float(risks[tau - 1]), float(limit_risk(rho, c)), float(risks[0]), valley_saer(c, T, 0.25),
        words,
    )  # fmt: skip


@functools.cache
def _background() -> Float[np.ndarray, "rho c"]:
    c, rho = np.meshgrid(_centres(1.0), _centres(0.5))
    return limit_risk(rho, c)


def _centres(high: float) -> Float[np.ndarray, " cell"]:
    return (np.arange(_CELLS) + 0.5) * high / _CELLS


class Panels:
    """Risk against the suffix on the left; where (c, rho) lies among the phases on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right, bar = (figure.add_axes(place) for place in _PLACES)
        (self._risks,) = left.plot([], [], color=PALETTE[0])
        (self._here,) = left.plot([], [], "o", color=PALETTE[3], markersize=8)
        self._limit = left.axhline(0, color=GUIDE, linestyle="--", linewidth=1.2)
        left.set(xlim=(0, 1.02), ylim=(-0.005, 0.26), xlabel=r"suffix starts at $\tau/T$", ylabel="population risk")
        left.set_title("Suffix averages (dashed: full average, $T\\to\\infty$)", fontsize=11, pad=9)
        image = right.imshow(
            _background(),
            extent=(0, 1, 0, 0.5),
            origin="lower",
            aspect="auto",
            vmin=0,
            vmax=1 / 12,
            interpolation="nearest",
        )
        for factor, style in ((3.0, "--"), (np.sqrt(3.0), "-")):
            right.plot([0, 1], [0, 1 / factor], color="white", linestyle=style, linewidth=2)
        (self._phase,) = right.plot(
            [], [], "o", color=PALETTE[3], markeredgecolor="white", markersize=10, clip_on=False
        )
        right.set(xlim=(0, 1), ylim=(0, 0.5), xlabel=r"$c=\eta(r-\rho)\sqrt{T}$", ylabel=r"flatness $\rho$")
        right.set_title(r"dashed: $\rho=c/3$, solid: $\rho=c/\sqrt{3}$", fontsize=11, pad=9)
        right.grid(False)
        figure.colorbar(image, cax=bar, label="population risk")
        self.moving = (self._limit, self._risks, self._here, self._phase)

    def update(self, rho: float = 0.1, c: float = 1.0, T: int = 256, share: float = 0.0) -> str:
        picture = compute(rho, c, T, share)
        self._risks.set_data(picture.shares, picture.risks)
        self._here.set_data([picture.tau / T], [picture.risk])
        self._limit.set_ydata([picture.limit] * 2)
        self._phase.set_data([c], [rho])
        return (
            f"Risk {picture.risk:.4f} at tau = {picture.tau}, {picture.least:.4f} for the full average; sharpness-aware "
            f"empirical risk {picture.saer:.4f} (eta = 1/4); {picture.words}."
        )


_PLACES = ((0.08, 0.16, 0.38, 0.72), (0.56, 0.16, 0.32, 0.72), (0.9, 0.16, 0.015, 0.72))


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the flatness rho, the progress c and the suffix, a menu for the number of iterates."""
    start: dict[str, Any] = {"rho": 0.1, "c": 1.0, "T": 256, "share": 0.0} | initial
    controls = [
        Control("rho", "flatness rho", start["rho"], 0.0, 0.5, 0.01, meaning="radius of the flat minimum"),
        Control("c", "progress c", start["c"], 0.05, 1.0, 0.01, meaning="eta (r - rho) sqrt T"),
        Control("T", "iterates T", start["T"], kind="choice", choices=ITERATES),
        Control("share", "first tau/T", start["share"], 0.0, 1.0, 0.01, meaning="share of the iterates left out"),
    ]
    return Explorer(
        "How bad is the flat minimum that SA-GD walks to?", controls, Panels, (9.0, 3.8), paper="flat-minima-sco"
    )
