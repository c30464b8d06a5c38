"""Two layers of two neurons with product 1: gauge, misalignment and step size decide whether gradient descent stays."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, cast

import contourpy
import numpy as np
from jaxtyping import Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE

STEPS, _EPS, _REACH = 300, 1e-3, 0.6
_LEVELS = (0.03, 0.15, 0.5, 1.2)
_GRID = np.linspace(-_REACH, _REACH, 61)


@dataclass(frozen=True, eq=False)
class Orbit:
    """Gradient descent from eps away from W_2 = [g, k g], W_1 = [1/g, 0]^T, on f = (1 - W_2 W_1)^2, with step size 2c/lambda_max.

    Attributes:
        distance: to the minimiser; stability: lambda_max eta/2 of the point; along, across: displacement along the top
            eigenvector and along the gauge direction, both unit; all at every step, NaN once the run has blown up.
        residual: 1 - W_2 W_1 on the plane of these two directions, at `_GRID` both ways.
        sharpness: lambda_max at the minimiser.
    """

    distance: Float[np.ndarray, " step"]
    stability: Float[np.ndarray, " step"]
    along: Float[np.ndarray, " step"]
    across: Float[np.ndarray, " step"]
    residual: Float[np.ndarray, "across along"]
    sharpness: float


@functools.lru_cache(maxsize=64)
def compute(g: float = 1.5, k: float = 0.5, c: float = 1.05) -> Orbit:
    """The orbit for gauge g, misalignment k and step over the edge c = eta lambda_max/2.

    Raises:
        ValueError: unless g > 0, k >= 0, c > 0.
    """
    if not (g > 0 and k >= 0 and c > 0):
        raise ValueError(f"needs g > 0, k >= 0 and c > 0, got {g=}, {k=}, {c=}")
    centre = np.array([1 / g, 0.0, g, k * g])
    # f's Hessian at a minimiser is 2 v v^T with v = (W_2, W_1), the gradient of W_2 W_1.
    top = centre[[2, 3, 0, 1]] / np.linalg.norm(centre)
    gauge = np.array([-centre[0], -centre[1], centre[2], centre[3]])
    gauge = gauge / np.linalg.norm(gauge)
    sharpness = 2 * float(centre @ centre)
    step_size = 2 * c / sharpness
    path = np.full((STEPS + 1, 4), np.nan)
    path[0] = centre + _EPS * top
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(STEPS):
            first, second = path[step, :2], path[step, 2:]
            pull = 2 * step_size * (1 - second @ first)
            path[step + 1] = path[step] + pull * np.concatenate([second, first])
        stability = step_size * (path * path).sum(1)
    away = path - centre
    plane = centre + _GRID[None, :, None] * top + _GRID[:, None, None] * gauge
    residual = 1 - (plane[..., :2] * plane[..., 2:]).sum(-1)
    return Orbit(np.linalg.norm(away, axis=1), stability, away @ top, away @ gauge, residual, sharpness)


class Panels:
    """Level sets of the loss with the orbit; distance from the minimiser; the sharpness on the way against edge and mirror."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        places = ((0.07, 0.16, 0.25, 0.74), (0.405, 0.16, 0.25, 0.74), (0.735, 0.16, 0.25, 0.74))
        plane, middle, right = (figure.add_axes(place) for place in places)
        self._levels = LineCollection([], colors=GUIDE, linewidths=0.8)
        self._minima = LineCollection([], colors="black", linewidths=1.6, label="minimisers")
        for lines in (self._levels, self._minima):
            plane.add_collection(lines, autolim=False)
        (self._orbit,) = plane.plot(
            [], [], ".-", color=PALETTE[1], linewidth=0.7, markersize=4, label="gradient descent"
        )
        plane.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH), ylabel="along the gauge")
        plane.set_xlabel("along the top eigenvector")
        plane.legend(fontsize=8, loc="upper left", framealpha=1)
        (self._distance,) = middle.semilogy([], [], color=PALETTE[0])
        middle.set(xlim=(0, STEPS), ylim=(1e-8, 10), xlabel="step", ylabel=r"distance $|\theta-\theta^*|$")
        (self._meter,) = right.plot([], [], color=PALETTE[0], label="on the way")
        self._edge = right.axhline(1.0, color=GUIDE, label=r"edge $2/\eta$")
        self._mirror = right.axhline(1.0, color=GUIDE, linestyle="--", label="mirror $2-c$")
        right.set(xlim=(0, STEPS), ylim=(0.6, 1.4), xlabel="step", ylabel=r"$\lambda_{\max}\,\eta/2$")
        right.legend(fontsize=8, loc="upper right", framealpha=1)
        self.moving = (
            self._levels, self._minima, self._orbit, self._distance, self._edge, self._mirror, self._meter,
        )  # fmt: skip

    def update(self, g: float = 1.5, misalignment: float = 0.5, mirror_c: float = 1.05) -> str:
        found = compute(g, misalignment, mirror_c)
        drawn = contourpy.contour_generator(_GRID, _GRID, found.residual)
        self._levels.set_segments(
            [line for level in _LEVELS for sign in (1, -1) for line in _lines(drawn, sign * math.sqrt(level))]
        )
        self._minima.set_segments(_lines(drawn, 0.0))
        self._orbit.set_data(found.along, found.across)
        steps = np.arange(STEPS + 1)
        self._distance.set_data(steps, np.maximum(found.distance, 1e-12))
        self._meter.set_data(steps, found.stability)
        self._mirror.set_ydata([2 - mirror_c] * 2)
        leaves = "stays" if mirror_c <= 1 else "leaves"
        end = found.stability[-1]
        ends = f"ends at {end:.3g} of the edge" if math.isfinite(end) else "blows up"
        step_size = 2 * mirror_c / found.sharpness
        return f"Sharpness {found.sharpness:.3g} (flattest 4); step size {step_size:.3g}: {leaves}; {ends}."


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def _lines(drawn: contourpy.ContourGenerator, level: float) -> list[np.ndarray]:
    return cast(list[np.ndarray], drawn.lines(level))


def explorer(**initial: Any) -> Explorer:
    """Sliders for the gauge, the misalignment and the step size over the edge; the last two are parameters of the card."""
    start = {"g": 1.5, "misalignment": 0.5, "mirror_c": 1.05} | initial
    off, over = "part of W_2 that W_1 does not meet", "eta lambda_max / 2 at the minimiser"
    controls = [
        Control("g", "gauge g", start["g"], 0.4, 2.5, kind="log", meaning="W_2 times g, W_1 over g"),
        Control("misalignment", "misalignment", start["misalignment"], 0.0, 2.0, 0.05, meaning=off),
        Control("mirror_c", "step over edge c", start["mirror_c"], 0.8, 1.3, 0.01, meaning=over),
    ]
    return Explorer("Stay or leave", controls, Panels, (11.0, 3.6), paper="deep-matrix-factorization")
