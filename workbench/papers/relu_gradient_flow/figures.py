"""The paper's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import binomtest

from workbench import figures
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.relu_gradient_flow.beyond import FivePoints
from workbench.papers.relu_gradient_flow.network import Neurons, relu_network
from workbench.papers.relu_gradient_flow.points import (
    Points,
    probability_of_minimum_norm,
    probability_of_zero_loss,
)


def draw_saddles(found: xr.Dataset, points: Points) -> Figure:
    """Loss against t/ln(1/lambda) with the two predicted steps and plateaus; crossing times against ln(1/lambda)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    for colour, scale in zip(PALETTE, found.scale.values, strict=False):
        one = found.sel(scale=scale)
        time = one.time.isel(seed=0).values / math.log(1 / scale)
        figures.band(left, time, one.loss.transpose("seed", "record").values, f"$\\lambda={scale:g}$", color=colour)
    fast, slow = max(points.rates), min(points.rates)
    for rate in (fast, slow):
        left.axvline(1 / rate, color=GUIDE, linestyle="--", linewidth=1)
    for height in points.plateaus:
        left.axhline(height, color=GUIDE, linestyle=":", linewidth=1)
    left.set(xlabel=r"time over $\ln(1/\lambda)$", ylabel="loss", xlim=(0, 1.6 / slow))
    left.legend(fontsize=8)
    x = np.log(1 / found.scale.values)
    for colour, marker, name, rate in ((PALETTE[0], "o", "first", fast), (PALETTE[1], "s", "second", slow)):
        times = found[name].transpose("seed", "scale").values
        right.plot(x, times.mean(0), marker, color=colour, label=f"{name} crossing")
        right.plot(x, times.mean(0)[-1] + (x - x[-1]) / rate, "--", color=colour, linewidth=1)
    right.set(xlabel=r"$\ln(1/\lambda)$", ylabel="time (dashed: predicted slope)")
    right.legend(fontsize=8)
    return figure


def draw_bias(
    toy: xr.DataArray, generic: xr.DataArray, emptied: xr.DataArray, exponent: float, outcome: xr.Dataset
) -> Figure:
    """Norm excess against lambda with the predicted slopes; outcome probabilities against width with exact intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    rows = ((toy, "toy", "o", 2.0), (generic, "generic", "s", exponent), (emptied, "generic, cones emptied", "^", 0.0))
    for colour, (excess, name, marker, slope) in zip(PALETTE, rows, strict=False):
        middle = excess.median("seed")
        kept = middle > 1e-13
        x, y = excess.scale.values[kept], middle.values[kept]
        left.plot(x, y, marker, color=colour, label=f"{name} (slope {slope:.3g})")
        left.plot(x, y[0] * (x / x[0]) ** slope, "--", color=colour, linewidth=1)
    left.set(xscale="log", yscale="log", xlabel=r"scale $\lambda$", ylabel=r"$\frac{1}{2}|\theta|^2-N^*$ (median)")
    left.legend(fontsize=8)
    widths = outcome.width.values
    curves = (("fits", "zero loss", probability_of_zero_loss), ("least", "least norm", probability_of_minimum_norm))
    for colour, (name, label, law) in zip(PALETTE, curves, strict=False):
        runs = outcome[name].transpose("seed", "width").values
        count, n = runs.sum(0), len(runs)
        ends = [binomtest(int(k), n).proportion_ci(method="exact") for k in count]
        bars = [count / n - [one.low for one in ends], [one.high for one in ends] - count / n]
        right.errorbar(widths, count / n, bars, fmt="o", color=colour, capsize=3, label=label)
        right.plot(widths, [law(int(m), 3, 3) for m in widths], "--", color=colour, linewidth=1)
    right.set(xscale="log", xlabel="width (dashed: exact formulas)", ylabel="share of starts", ylim=(-0.03, 1.03))
    right.set_xticks(widths, [str(m) for m in widths])
    right.minorticks_off()
    right.legend(fontsize=8)
    return figure


def draw_alignment(found: xr.Dataset) -> Figure:
    """Cosine of every followed neuron of one start with the tanh law; the loss drop below."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    one = found.isel(seed=0, scale=0)
    kept = np.flatnonzero(~np.isnan(one.cosine.isel(record=0).values))
    for neuron in kept:
        left.plot(one.time, one.cosine.isel(neuron=neuron), color=PALETTE[0], linewidth=2, alpha=0.6)
        left.plot(one.time, one.law.isel(neuron=neuron), ":", color="black", linewidth=1)
    left.set(xlabel="time", ylabel=r"$\cos\theta$ (dotted: tanh law)")
    drop = found.fall.isel(scale=0).transpose("seed", "record").values[:, 1:]
    right.plot(one.time[1:], drop.T, color=PALETTE[1], linewidth=1)
    right.set(yscale="log", xlabel="time", ylabel="relative drop of the loss, every start")
    return figure


def draw_frames(points: Points, shown: list[Neurons], times: list[float]) -> Figure:
    """The function and every neuron (its kink, and its size with sign) at six stages of the one-dimensional example."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, sharey=True)
    x = np.linspace(-3, 4, 200)
    inputs = _line(x)
    for ax, neurons, time in zip(axes.flat, shown, times, strict=True):
        network = relu_network(points, len(neurons["a"]), 1e-2)
        ax.plot(x, network.outputs(neurons, inputs), color=PALETTE[0])
        kinks = -neurons["w"][:, 1] / neurons["w"][:, 0]
        ax.plot(kinks, neurons["a"], "*", color=PALETTE[1], markersize=5)
        ax.plot(points.inputs[:, 0], points.labels, "o", color="black", markersize=5)
        ax.set(xlim=(-3, 4), ylim=(-1.6, 1.6))
        ax.set_title(f"$t={time:.3g}$", fontsize=10)
    for ax in axes[1]:
        ax.set_xlabel("input")
    for ax in axes[:, 0]:
        ax.set_ylabel("output; neuron $s|w|$")
    return figure


def draw_polar(points: Points, shown: list[Neurons], times: list[float]) -> Figure:
    """Every neuron's direction (angle) and size (radius, log of it over the start's) at some stages, with D+ and D-."""
    figure, axes = plt.subplots(1, len(times), figsize=(3.1 * len(times), 3.4), subplot_kw={"projection": "polar"})
    sizes = [neurons["w"].norm(dim=1) for neurons in shown]
    unit = float(sizes[0].median())
    for ax, neurons, size, time in zip(axes, shown, sizes, times, strict=True):
        turn = torch.atan2(neurons["w"][:, 1], neurons["w"][:, 0])
        radius = 1 + torch.log10(size / unit).clamp_min(-1)
        for colour, marker, sign in ((PALETTE[0], "o", 1), (PALETTE[1], "^", -1)):
            own = neurons["a"] * sign > 0
            ax.plot(
                turn[own],
                radius[own],
                marker,
                color=colour,
                markersize=4,
                alpha=0.7,
                label="$+$" if sign > 0 else "$-$",
            )
        for drive, style in zip(points.drives, ("-", "--"), strict=True):
            ax.plot([math.atan2(float(drive[1]), float(drive[0]))] * 2, [0, 8], style, color=GUIDE, linewidth=1)
        ax.set(ylim=(0, 8), yticklabels=[])
        ax.tick_params(labelsize=8)
        ax.set_title(f"$t={time:.3g}$", fontsize=10)
    axes[0].legend(title="sign", fontsize=8, title_fontsize=8, loc="lower left", bbox_to_anchor=(-0.25, -0.2))
    return figure


def draw_beyond(found: xr.Dataset, five: Sequence[FivePoints]) -> Figure:
    """Excess of the norm against the angle between two points; the flow on five points beside the interpolator of least norm."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for colour, marker, scale in zip(PALETTE, "os^", found.scale.values, strict=False):
        runs = found.excess.sel(scale=scale).transpose("angle", "seed").values
        left.plot(found.angle, np.median(runs, axis=1), f"{marker}-", color=colour, label=f"$\\lambda={scale:g}$")
    left.axvline(90, color=GUIDE, linestyle="--", linewidth=1)
    left.set(
        yscale="log", xlabel="angle between the two inputs (degrees)", ylabel="norm over the least, minus 1 (median)"
    )
    left.legend(fontsize=8)
    x = np.linspace(-2, 2.5, 200)
    for colour, one in zip(PALETTE, five, strict=False):
        network = relu_network(one.points, len(one.neurons["a"]), one.scale)
        words = f"$\\lambda={one.scale:g}$: norm {100 * one.excess:.0f} % above the least"
        right.plot(x, network.outputs(one.neurons, _line(x)), color=colour, label=words)
    points, least = five[0].points, five[0].least
    right.plot(
        x, least.outputs(_line(x).numpy()), "--", color="black", linewidth=1.2, label="least norm (convex programme)"
    )
    right.plot(points.inputs[:, 0], points.labels, "o", color="black", label="points")
    right.set(xlabel="input", ylabel="output")
    right.legend(fontsize=8)
    return figure


def _line(x: np.ndarray) -> torch.Tensor:
    """Places on the line with their bias coordinate."""
    return torch.from_numpy(np.stack([x, np.ones_like(x)], axis=1))
