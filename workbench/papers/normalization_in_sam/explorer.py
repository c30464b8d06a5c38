"""Gradient descent, USAM and SAM along the minima of l(xy) (arXiv:2305.15287)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import decades, set_limits
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE
from workbench.papers.normalization_in_sam.paths import product_path
from workbench.problems.landscapes.xy_model import ProductLoss, drift_rate, trapped_level

RULES = {"GD": "gd", "USAM": "usam", "SAM": "sam"}
_SHOWN = 300
"""Points drawn of each path; more make a redraw slower and the line no finer."""


@dataclass(frozen=True)
class Picture:
    """What the explorer shows for one start, step size and radius."""

    loss: str
    imbalance: float
    paths: dict[str, Float[np.ndarray, "step parameter"]]
    level: float
    rate: float

    @property
    def half_life(self) -> float:
        """Steps in which SAM halves D, while its rate holds."""
        return math.log(2) / self.rate if self.rate > 0 else math.inf

    @property
    def imbalances(self) -> dict[str, Float[np.ndarray, " step"]]:
        """D = y^2 - x^2 along every path."""
        return {name: path[:, 1] ** 2 - path[:, 0] ** 2 for name, path in self.paths.items()}


def compute(
    step_size: float = 0.1,
    rho: float = 0.2,
    C: float = 16.0,
    loss: str = "sqrt",
    steps: int = 1000,
    offset: float = 0.3,
) -> Picture:
    """The paths from (offset, sqrt(C + offset^2)), USAM's level y_*^2 and SAM's predicted rate."""
    start = (offset, math.sqrt(C + offset**2))
    paths = {name: product_path(loss, start, rule, step_size, rho, steps) for name, rule in RULES.items()}  # type: ignore[arg-type]
    return Picture(loss, C, paths, trapped_level(step_size, rho), drift_rate(step_size, rho))  # type: ignore[arg-type]


class Panels:
    """Paths on the level sets on the left, D against the step on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        left, right = figure.add_axes((0.07, 0.14, 0.38, 0.77)), figure.add_axes((0.545, 0.14, 0.425, 0.77))
        self._left, self._right = left, right
        self._levels = left.imshow([[0.0]], cmap=_GREYS, origin="lower", aspect="auto", interpolation="nearest")
        for line in (left.axvline, left.axhline):
            line(0, color=GUIDE, linewidth=0.8)
        self._trapped = left.axhline(0, color=GUIDE, linestyle="--", linewidth=1.2)
        self._name = left.annotate("$y_*$", (0, 0), xytext=(3, 3), textcoords="offset points")
        colours = dict(zip(RULES, PALETTE, strict=False))
        self._paths = {name: left.plot([], [], color=colour, linewidth=1.0)[0] for name, colour in colours.items()}
        (self._start,) = left.plot([], [], "o", color="white", markeredgecolor="black", markersize=7)
        self._ends = {
            name: left.plot([], [], "o", color=colour, markeredgecolor="white", markersize=8)[0]
            for name, colour in colours.items()
        }
        left.set(xlabel="$x$", ylabel="$y$", title="paths on the level sets")
        left.locator_params(nbins=5)
        left.grid(False)
        self._decays = {name: right.plot([], [], color=colour, label=name)[0] for name, colour in colours.items()}
        (self._rate,) = right.plot([], [], color=GUIDE, linestyle=":", linewidth=1.6, label=r"rate $2\eta\rho^2$")
        self._level = right.axhline(1, color=GUIDE, linestyle="--", linewidth=1.2, label="$y_*^2$")
        right.set_yscale("log")
        right.minorticks_off()
        right.locator_params("x", nbins=5)
        right.set(xlabel="step", ylabel="$D = y^2 - x^2$", title="imbalance")
        right.legend(loc="lower left", framealpha=1, fancybox=False)
        self.moving = (
            self._trapped, self._name, *self._paths.values(), self._start, *self._ends.values(), *self._decays.values(),
            self._rate, self._level,
        )  # fmt: skip
        self._background: tuple[Any, ...] = ()

    def update(self, **parameters: Any) -> str:
        picture = compute(**parameters)
        self._plane(picture)
        self._decay(picture)
        ends = ", ".join(f"{name} {_number(path[-1, 1] ** 2)}" for name, path in picture.paths.items())
        return (
            f"y_*² = {picture.level:.3g}; predicted rate of SAM {picture.rate:.3g} per step, half-life "
            f"{picture.half_life:.3g} steps; y² at the end: {ends}"
        )

    def _plane(self, picture: Picture) -> None:
        top = math.ceil(2.1 * math.sqrt(picture.imbalance + 0.09)) / 2
        reach = max(float(np.nanmax(np.abs(path[:, 0]))) for path in picture.paths.values())
        width = max(1.0, min(top, math.ceil(2.1 * reach) / 2))
        if self._background != (picture.loss, width, top):
            self._draw_levels(picture.loss, width, top)
        height = math.sqrt(picture.level)
        for artist in (self._trapped, self._name):
            artist.set_visible(height < top)
        self._trapped.set_ydata([height, height])
        self._name.xy = (-width, height)
        for name, path in picture.paths.items():
            kept = path[np.isfinite(path).all(1)]
            self._paths[name].set_data(*kept[_thinned(len(kept))].T)
            self._ends[name].set_data(*kept[-1:].T)
        self._start.set_data(*picture.paths["SAM"][:1].T)

    def _draw_levels(self, loss: str, width: float, top: float) -> None:
        """Nine shades of the loss in the rectangle shown, which becomes the panel's."""
        bottom = -0.08 * top
        x, y = np.linspace(-width, width, 381), np.linspace(bottom, top, 325)
        self._levels.set_data(ProductLoss(loss).outer(torch.as_tensor(np.outer(y, x))).numpy())  # type: ignore[arg-type]
        self._levels.set_extent((-width, width, bottom, top))
        self._levels.autoscale()
        set_limits(self._left, (-width, width), (bottom, top))
        self._background = (loss, width, top)

    def _decay(self, picture: Picture) -> None:
        steps, shown = len(picture.paths["SAM"]) - 1, _thinned(len(picture.paths["SAM"]))
        set_limits(self._right, (0, steps), (1e-4, decades(1.0, 1.5 * picture.imbalance)[1]))
        for name, imbalance in picture.imbalances.items():
            self._decays[name].set_data(shown, np.abs(imbalance[shown]))
        self._rate.set_visible(picture.rate > 0)
        if picture.rate > 0:
            ends = np.array([0.0, min(steps, math.log(picture.imbalance / 1e-4) / picture.rate)])
            self._rate.set_data(ends, picture.imbalance * np.exp(-picture.rate * ends))
        self._level.set_visible(picture.level < picture.imbalance)
        self._level.set_ydata([picture.level] * 2)


_GREYS = ListedColormap(colormaps["Greys"](np.linspace(0, 0.5, 9)))


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def _thinned(count: int) -> Sequence[int]:
    """Every step at first, where the paths turn, then fewer."""
    if count <= _SHOWN:
        return range(count)
    early, late = np.arange(_SHOWN // 2), np.linspace(_SHOWN // 2, count - 1, _SHOWN // 2).astype(int)
    return np.concatenate([early, late]).tolist()


def explorer(**initial: Any) -> Explorer:
    """Sliders for the step size, the radius, the start and the number of steps, a menu for the loss."""
    start = {"step_size": 0.1, "rho": 0.2, "C": 16.0, "loss": "sqrt", "steps": 1000} | initial
    controls = [
        Control("step_size", "step size", start["step_size"], 0.005, 0.2, kind="log", meaning="step size eta"),
        Control("rho", "rho", start["rho"], 0.0, 1.0, 0.01, meaning="radius of the ascent"),
        Control("C", "start D", start["C"], 1.0, 36.0, 0.5, meaning="imbalance y² - x² at the start"),
        Control("loss", "loss", start["loss"], kind="choice", choices=("sqrt", "logcosh"), meaning="outer loss l"),
        Control("steps", "steps", start["steps"], 200, 5000, 100, kind="int", meaning="steps of each run"),
    ]
    return Explorer("Drift along the minima of l(xy)", controls, Panels)
