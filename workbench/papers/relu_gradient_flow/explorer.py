"""The toy example: scale, width, start, angle between the two points and their labels; loss curve and final function."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import round_up, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.optimizers.continuous.flows import Heun
from workbench.papers.relu_gradient_flow.convex import least_variation_norm
from workbench.papers.relu_gradient_flow.network import half_norm, largest_step, relu_network
from workbench.papers.relu_gradient_flow.points import toy
from workbench.papers.relu_gradient_flow.study import horizon

_X = np.linspace(-3, 4, 141)
_INPUTS = torch.from_numpy(np.stack([_X, np.ones_like(_X)], axis=1))


@dataclass(frozen=True, eq=False)
class Picture:
    """Loss against time, the steps predicted for it, the function at the end, the points, and the norm over the least."""

    times: Float[np.ndarray, " step"]
    losses: Float[np.ndarray, " step"]
    predicted: tuple[float, float]
    rates: tuple[float, float]
    outputs: Float[np.ndarray, " place"]
    points: Float[np.ndarray, "2 sample"]
    excess: float


class _Oracle:
    """The gradient alone: a flow asks for nothing else."""

    def __init__(self, gradient: Any) -> None:
        self.gradient = gradient


@functools.lru_cache(maxsize=64)
def compute(
    gd_lambda: float = 1e-4,
    width: int = 40,
    seed0: int = 0,
    angle: float = 90.0,
    first: float = 1.0,
    second: float = -1.0,
) -> Picture:
    """One start of scale gd_lambda, followed past the second predicted step with Heun steps of 0.05 or the largest stable one."""
    points = toy(angle, (first, second))
    network, dt = relu_network(points, width, gd_lambda), min(0.05, largest_step(points))
    rule, oracle, state = Heun(dt), _Oracle(network.gradient), network.initial(seed0)
    until = horizon(points, gd_lambda, settle=14.0)
    losses = []
    for _ in range(int(until / dt)):
        # pyrefly: ignore[bad-argument-type]
        losses.append(float(network.loss(state)))
        state, _ = rule.step(oracle, state, ())  # type: ignore[arg-type]  # pyrefly: ignore[bad-argument-type]
    # pyrefly: ignore[bad-argument-type]
    norm, outputs = float(half_norm(state)), network.outputs(state, _INPUTS)
    fast, slow = (math.log(1 / gd_lambda) / rate for rate in sorted(points.rates, reverse=True))
    return Picture(
        dt * np.arange(len(losses)), np.array(losses), (fast, slow), points.rates, outputs.numpy(),
        np.stack([points.inputs[:, 0].numpy(), points.labels.numpy()]), norm - least_variation_norm(points).norm,
    )  # fmt: skip


class Panels:
    """The loss with its predicted steps on the left, the function at the end on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        left, right = figure.add_axes((0.08, 0.16, 0.4, 0.76)), figure.add_axes((0.57, 0.16, 0.41, 0.76))
        self._left = left
        self._steps = [left.axvline(0, color=GUIDE, linestyle="--", linewidth=1) for _ in range(2)]
        (self._loss,) = left.plot([], [], color=PALETTE[0])
        left.set(xlabel="time (dashed: predicted steps)", ylabel="loss")
        (self._function,) = right.plot([], [], color=PALETTE[0], label="function at the end")
        (self._points,) = right.plot([], [], "o", color="black", label="points")
        right.set(xlim=(-3, 4), ylim=(-3, 3), xlabel="input", ylabel="output")
        right.legend(fontsize=9, loc="upper left", framealpha=1)
        self.moving = (*self._steps, self._loss, self._function, self._points)

    def update(self, **parameters: Any) -> str:
        found = compute(**parameters)
        self._loss.set_data(found.times, found.losses)
        set_limits(
            self._left, x=(0, round_up(float(found.times[-1]))), y=(0, round_up(1.05 * float(found.losses.max())))
        )
        for line, time in zip(self._steps, found.predicted, strict=True):
            line.set_xdata([time, time])
        self._function.set_data(_X, found.outputs)
        self._points.set_data(*found.points)
        rates = " and ".join(f"{rate:.3g}" for rate in found.rates)
        fits = found.losses[-1] < 1e-6
        norm = f"norm {found.excess:.2e} above the least of an interpolator" if fits else "not fitted"
        return f"Final loss {found.losses[-1]:.2e}; {norm}; rates {rates}."


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for scale, width, start, angle and labels; all but the labels are parameters of the card."""
    start = {"gd_lambda": 1e-4, "width": 40, "seed0": 0, "angle": 90.0, "first": 1.0, "second": -1.0} | initial
    controls = [
        Control("gd_lambda", "scale", start["gd_lambda"], 1e-8, 0.5, kind="log", meaning="lambda of the start"),
        Control("width", "width", start["width"], 4, 100, 1, kind="int", meaning="number of neurons"),
        Control("seed0", "start", start["seed0"], 0, 1_000_000, 1, kind="int", meaning="seed of the start"),
        Control("angle", "angle", start["angle"], 30.0, 150.0, 5.0, unit="degrees", meaning="between the points"),
        Control("first", "first label", start["first"], 0.3, 2.0, 0.1, meaning="label of (2, 1)"),
        Control("second", "second label", start["second"], -2.0, -0.3, 0.1, meaning="label of the other point"),
    ]
    return Explorer("Saddle to saddle", controls, Panels, (9.0, 3.4), paper="relu-gradient-flow")
