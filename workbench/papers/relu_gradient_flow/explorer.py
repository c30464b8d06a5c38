"""The toy example: scale, width, start, angle between the two points and their labels; loss curve and final function."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE
from workbench.optimizers.continuous.flows import Heun
from workbench.papers.relu_gradient_flow.network import half_norm, relu_network
from workbench.papers.relu_gradient_flow.points import toy

DT = 0.05


class _Oracle:
    """The gradient alone: a flow asks for nothing else."""

    def __init__(self, gradient: Any) -> None:
        self.gradient = gradient


def draw(figure: Figure, gd_lambda: float, width: int, seed0: int, angle: float, first: float, second: float) -> str:
    """Loss against time with the predicted steps, and the function at the end; returns the read-out."""
    points, scale = toy(angle, (first, second)), gd_lambda
    network, rule = relu_network(points, width, scale), Heun(DT)
    oracle, state = _Oracle(network.gradient), network.initial(seed0)
    rates = [rate for rate in points.rates if rate > 0]
    until = 1.3 * math.log(1 / scale) / min(rates) + 15
    losses = []
    for _ in range(int(until / DT)):
        # pyrefly: ignore[bad-argument-type]
        losses.append(float(network.loss(state)))
        state, _ = rule.step(oracle, state, ())  # type: ignore[arg-type]
    left, right = figure.subplots(1, 2)
    left.plot([DT * k for k in range(len(losses))], losses, color=PALETTE[0])
    for rate in rates:
        left.axvline(math.log(1 / scale) / rate, color=GUIDE, linestyle="--")
    left.set(xlabel="time (dashed: predicted steps)", ylabel="loss", ylim=(0, None))
    x = torch.linspace(-3, 4, 200, dtype=torch.float64)
    # pyrefly: ignore[bad-argument-type]
    right.plot(x, network.outputs(state, torch.stack([x, torch.ones_like(x)], dim=1)), color=PALETTE[0])
    right.plot(points.inputs[:, 0], points.labels, "o", color="black")
    right.set(xlabel="input", ylabel="output at the end")
    # pyrefly: ignore[bad-argument-type]
    excess = float(half_norm(state)) - points.minimum_norm
    norm = f"norm excess {excess:.2e}" if angle == 90 else "no closed norm off 90 degrees"
    return f"Final loss {losses[-1]:.2e}; {norm}; rates {', '.join(f'{rate:.3g}' for rate in points.rates)}."


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
    return Explorer("Saddle to saddle", controls, draw, (9.0, 3.4), paper="relu-gradient-flow")
