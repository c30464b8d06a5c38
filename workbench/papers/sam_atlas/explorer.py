"""The 2-cycle of a rule on a quadratic with two axes: its amplitude over a, and whether it attracts along the other axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench import optimizers as o
from workbench.dynamics import run
from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.sam_atlas.figures import amplitude
from workbench.papers.sam_atlas.quadratics import CYCLING
from workbench.problems import quadratic

RULES = tuple(CYCLING)
_STEPS = 60


def orbit(rule: str, a: float, rho: float, r: float) -> np.ndarray:
    """The iterates (step, axis) of a run on diag(1, r) beside the cycle."""
    size = amplitude(rule, a, rho)
    start = torch.tensor([size if np.isfinite(size) else rho, 0.05 * rho], dtype=torch.float64)
    made = CYCLING[rule](a, rho)
    path = run(quadratic([1.0, r]), made, steps=_STEPS, start=start, record={"x": lambda x: x}, every=1, progress=False)
    return path.records["x"].array().values


class Panels:
    """Left the amplitude over a with the present one; in the middle the multiplier along the other axis; right the path."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        places = ((0.08, 0.17, 0.24, 0.7), (0.40, 0.17, 0.25, 0.7), (0.73, 0.17, 0.25, 0.7))
        first, second, third = (figure.add_axes(place) for place in places)
        (self._curve,) = first.plot([], [], color=PALETTE[0])
        (self._here,) = first.plot([], [], "o", color=PALETTE[1])
        first.set(xlim=(0, 2), ylim=(1e-2, 20), yscale="log", xlabel=r"$a$", ylabel=r"$X/\rho$")
        first.set_title("amplitude", fontsize=11)
        (self._factor,) = second.plot([], [], color=PALETTE[0])
        (self._now,) = second.plot([], [], "o", color=PALETTE[1])
        for edge in (-1, 1):
            second.axhline(edge, color=GUIDE, linewidth=1, linestyle="--")
        second.set(xlim=(-3, 2), ylim=(-3, 3), xlabel=r"$r$, other over top eigenvalue", ylabel="multiplier")
        second.set_title("deviation per step", fontsize=11)
        (self._path,) = third.plot([], [], ".-", color=PALETTE[0], linewidth=0.6, markersize=4)
        (self._end,) = third.plot([], [], "o", color=PALETTE[1])
        third.set(xlim=(-2, 2), ylim=(-2, 2), xlabel=r"top axis, over $\rho$", ylabel=r"other axis, over $\rho$")
        third.set_title(f"{_STEPS} steps beside the cycle", fontsize=11)
        self.moving = (self._curve, self._here, self._factor, self._now, self._path, self._end)

    def update(self, rule: str = "sam", a: float = 0.8, rho: float = 0.1, r: float = -0.8) -> str:
        sizes = np.linspace(0.02, 1.97, 80)
        self._curve.set_data(sizes, [amplitude(rule, size, rho) / rho for size in sizes])
        size = amplitude(rule, a, rho)
        self._here.set_data([a], [size / rho])
        others = np.linspace(-3, 2, 101)
        factors = [_multiplier(rule, a, rho, other) for other in others]
        self._factor.set_data(others, factors)
        now = _multiplier(rule, a, rho, r)
        self._now.set_data([r], [now])
        path = orbit(rule, a, rho, r) / rho
        self._path.set_data(path[:, 0], path[:, 1])
        self._end.set_data(path[-1:, 0], path[-1:, 1])
        if not np.isfinite(size):
            return f"{rule} has no 2-cycle at a = {a:g}."
        known = "no multiplier in closed form" if np.isnan(now) else f"multiplier {now:.3f}"
        fate = "" if np.isnan(now) else (": the cycle attracts." if abs(now) <= 1 else ": the run leaves the cycle.")
        return f"{rule}: X = {size:.4g} ({size / rho:.3g} radii); along r = {r:g} {known}{fate}"


def _multiplier(rule: str, a: float, rho: float, r: float) -> float:
    try:
        return o.two_cycle(CYCLING[rule](a, rho), 1.0).multiplier(r)
    except ValueError:
        return np.nan


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for rule, a, radius and the other eigenvalue."""
    start: dict[str, Any] = {"rule": "sam", "a": 0.8, "rho": 0.1, "r": -0.8} | initial
    controls = [
        Control("rule", "rule", start["rule"], kind="choice", choices=RULES),
        Control("a", "a", start["a"], 0.05, 1.95, 0.05, meaning="step size times the top eigenvalue"),
        Control("rho", "radius", start["rho"], 0.02, 1.0, 0.02, meaning="radius of the ascent"),
        Control("r", "r", start["r"], -3.0, 2.0, 0.05, meaning="other eigenvalue over the top one; below 0 a saddle"),
    ]
    return Explorer("Where normalised rules end on a quadratic", controls, Panels, (10.0, 3.4), paper="sam-atlas")
