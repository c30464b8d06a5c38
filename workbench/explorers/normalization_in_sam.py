"""Gradient descent, USAM and SAM along the minima of l(xy) (arXiv:2305.15287)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE
from workbench.problems.product import ProductLoss, drift_rate, product_path, trapped_level

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
    """The paths from (offset, sqrt(C + offset^2)), USAM's level y*^2 and SAM's predicted rate."""
    start = (offset, math.sqrt(C + offset**2))
    paths = {name: product_path(loss, start, rule, step_size, rho, steps) for name, rule in RULES.items()}  # type: ignore[arg-type]
    return Picture(loss, C, paths, trapped_level(step_size, rho), drift_rate(step_size, rho))  # type: ignore[arg-type]


def draw(figure: Figure, **parameters: Any) -> str:
    """Paths on the level sets on the left, D against the step on the right; returns the read-out."""
    picture = compute(**parameters)
    # Axes at fixed places: to find places, constrained layout would draw everything twice.
    figure.set_layout_engine("none")
    left, right = figure.add_axes((0.07, 0.14, 0.38, 0.77)), figure.add_axes((0.54, 0.14, 0.445, 0.77))
    _plane(left, picture)
    _decay(right, picture)
    ends = ", ".join(f"{name} {_number(path[-1, 1] ** 2)}" for name, path in picture.paths.items())
    return (
        f"y*^2 = {picture.level:.3g}; predicted rate of SAM {picture.rate:.3g} per step, half-life "
        f"{picture.half_life:.3g} steps; y^2 at the end: {ends}"
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def _plane(ax: Axes, picture: Picture) -> None:
    top = 1.12 * math.sqrt(picture.imbalance + 0.09)
    width = max(1.0, min(top, 1.15 * max(_largest_x(path) for path in picture.paths.values())))
    x, y = np.linspace(-width, width, 61), np.linspace(-0.08 * top, top, 61)
    values = ProductLoss(picture.loss).outer(torch.as_tensor(np.outer(y, x))).numpy()  # type: ignore[arg-type]
    ax.contourf(x, y, values, levels=9, cmap="Greys", alpha=0.35)
    ax.axvline(0, color=GUIDE, linewidth=0.8)
    ax.axhline(0, color=GUIDE, linewidth=0.8)
    if picture.level < top**2:
        ax.axhline(math.sqrt(picture.level), color=GUIDE, linestyle="--", linewidth=1.2)
        ax.annotate("$y^*$", (-0.97 * width, math.sqrt(picture.level)), xytext=(0, 3), textcoords="offset points")
    for colour, (name, path) in zip(PALETTE, picture.paths.items(), strict=False):
        kept = path[np.isfinite(path).all(1)]
        ax.plot(*kept[_thinned(len(kept))].T, color=colour, linewidth=1.0, label=name)
        ax.plot(*kept[-1], "o", color=colour, markeredgecolor="white", markersize=8, zorder=5)
    ax.plot(*picture.paths["SAM"][0], "o", color="white", markeredgecolor="black", markersize=7, zorder=4)
    ax.set(xlim=(-width, width), ylim=(y[0], top), xlabel="$x$", ylabel="$y$", title="paths on the level sets")
    ax.locator_params(nbins=5)
    ax.grid(False)


def _decay(ax: Axes, picture: Picture) -> None:
    steps = len(picture.paths["SAM"]) - 1
    for colour, (name, imbalance) in zip(PALETTE, picture.imbalances.items(), strict=False):
        shown = _thinned(steps + 1)
        ax.plot(shown, np.abs(imbalance[shown]), color=colour, label=name)
    if picture.rate > 0:
        ends = np.array([0.0, min(steps, math.log(picture.imbalance / 1e-4) / picture.rate)])
        predicted = picture.imbalance * np.exp(-picture.rate * ends)
        ax.plot(ends, predicted, color=GUIDE, linestyle=":", linewidth=1.6, label=r"rate $2\eta\rho^2$")
    if picture.level < picture.imbalance:
        ax.axhline(picture.level, color=GUIDE, linestyle="--", linewidth=1.2, label="$y^{*2}$")
    ax.set_yscale("log")
    ax.minorticks_off()
    ax.locator_params("x", nbins=5)
    ax.set(ylim=(1e-4, 3 * picture.imbalance), xlabel="step", ylabel="$D = y^2 - x^2$", title="imbalance")
    ax.legend(loc="lower left", framealpha=0.8)


def _largest_x(path: Float[np.ndarray, "step parameter"]) -> float:
    return float(np.nanmax(np.abs(path[:, 0])))


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
        Control("C", "start D", start["C"], 1.0, 36.0, 0.5, meaning="imbalance y^2 - x^2 at the start"),
        Control("loss", "loss", start["loss"], kind="choice", choices=("sqrt", "logcosh"), meaning="outer loss l"),
        Control("steps", "steps", start["steps"], 200, 5000, 100, kind="int", meaning="steps of each run"),
    ]
    return Explorer("Drift along the minima of l(xy)", controls, draw)
