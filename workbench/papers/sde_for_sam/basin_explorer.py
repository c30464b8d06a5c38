"""Which starts noiseless SAM takes into a saddle: a map of 41 x 41 starts (arXiv:2301.08203, saddle lemma)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.papers.sde_for_sam.saddles import basin_map, basin_radius, bounce_bound

_REACH, _CELLS, _STEPS = 2.0, 41, 400
_ANGLE = np.linspace(0, 2 * np.pi, 200)


@functools.lru_cache(maxsize=64)
def compute(
    basin_rho: float = 0.5, basin_eta: float = 0.05, l1: float = 1.0, l2: float = -0.5
) -> Float[np.ndarray, "x2 x1"]:
    """log10 of |Hx_400|/|Hx_0| over starts in [-2, 2]^2, between -2 and 2. Raises ValueError where no eigenvalue is below 0."""
    basin_radius((l1, l2), basin_rho)
    found = basin_map((l1, l2), basin_rho, basin_eta, reach=_REACH, cells=_CELLS, steps=_STEPS)
    return np.clip(np.log10(np.maximum(found.values, 1e-300)), -2, 2)


class Panels:
    """The map and the ball of the lemma."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        ax = figure.add_axes((0.1, 0.13, 0.7, 0.77))
        half = _REACH * (1 + 1 / (_CELLS - 1))
        self._image = ax.imshow(
            np.zeros((_CELLS, _CELLS)), cmap="RdBu_r", vmin=-2, vmax=2, origin="lower", aspect="auto",
            extent=(-half, half, -half, half),
        )  # fmt: skip
        (self._ball,) = ax.plot([], [], "k--", linewidth=1.6)
        ax.set(xlim=(-half, half), ylim=(-half, half), xlabel="$x_1$", ylabel="$x_2$")
        ax.set_title("blue: nearer to the saddle after 400 steps; dashed: the lemma's ball", fontsize=11, pad=9)
        ax.grid(False)
        figure.colorbar(
            self._image, cax=figure.add_axes((0.83, 0.13, 0.03, 0.77)), label=r"$\log_{10}\|Hx_{400}\|/\|Hx_0\|$"
        )
        self.moving = (self._image, self._ball)

    def update(self, basin_rho: float = 0.5, basin_eta: float = 0.05, l1: float = 1.0, l2: float = -0.5) -> str:
        found = compute(basin_rho, basin_eta, l1, l2)
        self._image.set_data(found)
        ball = basin_radius((l1, l2), basin_rho)
        # Flat directions stretch the ball beyond every map.
        self._ball.set_data(ball / max(abs(l1), 1e-3) * np.cos(_ANGLE), ball / abs(l2) * np.sin(_ANGLE))
        across = np.linspace(-_REACH, _REACH, _CELLS)
        inside = np.hypot(l1 * across[None, :], l2 * across[:, None]) < ball
        bounce = bounce_bound((l1, l2), basin_rho, basin_eta)
        within = (
            f"{(found[inside] < 0).mean():.0%} of those within the ball" if inside.any() else "none within the ball"
        )
        return (
            f"{(found < 0).mean():.0%} of the starts end nearer to the saddle, {within}; there SAM bounces with "
            f"|Hx| up to {bounce:.3g}, {bounce / ball:.2g} of the ball's {ball:.3g}."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The map on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for radius, step size and the two eigenvalues, the second below 0."""
    start: dict[str, Any] = {"basin_rho": 0.5, "basin_eta": 0.05, "l1": 1.0, "l2": -0.5} | initial
    controls = [
        Control("basin_rho", "radius rho", start["basin_rho"], 0.05, 2.0, 0.05, meaning="SAM's radius"),
        Control("basin_eta", "step size eta", start["basin_eta"], 0.002, 0.2, kind="log", meaning="step size"),
        Control("l1", "first eigenvalue", start["l1"], -3.0, 3.0, 0.1, meaning="curvature along the first axis"),
        Control("l2", "second eigenvalue", start["l2"], -3.0, -0.1, 0.1, meaning="curvature along the second, below 0"),
    ]
    return Explorer("The saddle's ball", controls, Panels, (7.2, 4.4), paper="sde-for-sam")
