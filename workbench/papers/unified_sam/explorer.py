"""Where does unified SAM level off? Descent on a quadratic for a weight lam beside USAM and SAM (arXiv:2503.02225, Figure 1)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.unified_sam import theory
from workbench.papers.unified_sam.regressions import log_spectrum
from workbench.problems import quadratic

D, STEPS, SEED, _EVERY = 20, 2000, 0, 10
_LABELS = (r"chosen $\lambda$", r"$\lambda=0$ (USAM)", r"$\lambda=1$ (SAM)")


@dataclass(frozen=True)
class Picture:
    """Loss over the initial one of the chosen lam, of 0 and of 1, every tenth step; the bound and the level of the chosen."""

    losses: Float[np.ndarray, "rule record"]
    bound: Float[np.ndarray, " record"]
    steps: theory.SafeSteps
    gamma: float
    neighbourhood: float
    level: float


@functools.lru_cache(maxsize=64)
def compute(lam: float = 0.3, c: float = 0.5, share: float = 1.0, cond: float = 4.0) -> Picture:
    """2000 steps on a rotated quadratic of 20 eigenvalues from 1/cond to cond, rho = c rho*, gamma = share gamma* of each lam.

    `neighbourhood` and `level` (0 for lam = 0) are over the initial loss.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share = gamma/gamma* must lie in (0, 1], got {share!r}")
    problem = quadratic(log_spectrum(D, cond), rotation=SEED)
    L, mu = float(problem.smoothness), float(problem.strong_convexity)
    weights = np.array([lam, 0.0, 1.0])
    allowed = [theory.theorem_3_2(mu, L, 0.0, 1.0, 0.0, weight, c) for weight in weights]
    rho = np.array([one.rho for one in allowed])[:, None]
    gamma = share * np.array([one.gamma_star for one in allowed])[:, None]
    x, H = np.tile(problem.initial(SEED).numpy(), (3, 1)), problem.matrix.numpy()
    normalised, raw = rho * weights[:, None], rho * (1 - weights[:, None])
    points = [x]
    # NumPy, for a run of the library takes a quarter of a second; a test compares the two.
    for step in range(STEPS):
        g = x @ H
        x = x - gamma * ((x + (raw + normalised / np.sqrt((g * g).sum(1, keepdims=True))) * g) @ H)
        if (step + 1) % _EVERY == 0:
            points.append(x)
    kept = np.stack(points)
    losses = 0.5 * np.einsum("tri,ij,trj->rt", kept, H, kept)
    first, g0 = losses[0, 0], float(gamma[0, 0])
    N = theory.neighbourhood(mu, L, 0.0, lam, allowed[0].rho, g0) / first
    level = float(theory.plateau(L, g0, allowed[0].rho, lam)) / first
    bound = (1 - g0 * mu) ** np.arange(0, STEPS + 1, _EVERY) + N
    return Picture(losses / first, bound, allowed[0], g0, N, level)


class Panel:
    """Relative loss against steps: three runs, the bound, and the closed-form level of the chosen weight."""

    def __init__(self, figure: Figure) -> None:
        # A fixed place: finding it by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        ax = figure.add_axes((0.11, 0.15, 0.86, 0.74))
        styles = ("-", "--", ":")
        self._lines = [ax.plot([], [], styles[k], color=PALETTE[k], label=label)[0] for k, label in enumerate(_LABELS)]
        (self._bound,) = ax.plot([], [], "-.", color=PALETTE[4], label="bound of Theorem 3.2")
        (self._level,) = ax.plot([], [], color=GUIDE, linewidth=1.0, label="closed-form level")
        ax.set(xlim=(0, STEPS), ylim=(1e-16, 10), yscale="log", xlabel="steps $t$", ylabel="$f(x^t)/f(x^0)$")
        ax.set_title("deterministic descent on a quadratic", fontsize=11)
        ax.legend(fontsize=9, loc="lower left", ncols=2)
        self.moving = (*self._lines, self._bound, self._level)

    def update(self, lam: float = 0.3, c: float = 0.5, share: float = 1.0, cond: float = 4.0) -> str:
        picture = compute(lam, c, share, cond)
        places = np.arange(0, STEPS + 1, _EVERY)
        for line, losses in zip(self._lines, picture.losses, strict=True):
            line.set_data(places, np.maximum(losses, 1e-300))
        self._bound.set_data(places, picture.bound)
        self._level.set_data([0, STEPS], [picture.level, picture.level] if picture.level > 0 else [np.nan, np.nan])
        ends = picture.losses[:, -1]
        level = f"closed-form level {picture.level:.2e}" if picture.level > 0 else "no floor at lam = 0"
        return (
            f"rho* {picture.steps.rho_star:.4g}, gamma* {picture.steps.gamma_star:.4g}, N/f(x0) {picture.neighbourhood:.2e}, "
            f"{level}. After {STEPS} steps: {ends[0]:.1e} at lam = {lam:g}, {ends[1]:.1e} at 0, {ends[2]:.1e} at 1."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panel on a figure of one's own; returns the read-out."""
    return Panel(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the weight, radius and step size in units of what the theorem allows, and the condition number."""
    start: dict[str, Any] = {"lam": 0.3, "c": 0.5, "share": 1.0, "cond": 4.0} | initial
    controls = [
        Control("lam", "weight lam", start["lam"], 0.0, 1.0, 0.05, meaning="0: USAM, 1: SAM"),
        Control("c", "rho/rho*", start["c"], 0.0, 0.95, 0.05, meaning="radius over what the theorem allows"),
        Control(
            "share", "gamma/gamma*", start["share"], 0.05, 1.0, 0.05, meaning="step size over what the theorem allows"
        ),
        Control("cond", "condition number", start["cond"], 1.0, 100.0, kind="log", meaning="of A; L/mu is its square"),
    ]
    return Explorer("Where does unified SAM level off?", controls, Panel, (9.0, 3.9), paper="unified-sam")
