"""The paper's figures."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import binomtest

from workbench import figures
from workbench.figures.style import GUIDE, PALETTE
from workbench.optimizers.continuous.flows import Heun
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


def frames(points: Points, *, width: int, scale: float, seed: int, dt: float, times: list[float]) -> list[Neurons]:
    """The neurons of one flow at some times."""
    network, rule = relu_network(points, width, scale), Heun(dt)
    state, now, found = network.initial(seed), 0, []

    class _Here:
        gradient = staticmethod(network.gradient)

    for target in [round(time / dt) for time in times]:
        while now < target:
            state, _ = rule.step(_Here(), state, ())  # type: ignore[arg-type]
            now += 1
        # pyrefly: ignore[missing-attribute]
        found.append({name: tensor.clone() for name, tensor in state.items()})
    return found


def draw_frames(points: Points, shown: list[Neurons], times: list[float]) -> Figure:
    """The function and every neuron (its kink, and its size with sign) at six stages of the one-dimensional example."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, sharey=True)
    x = np.linspace(-3, 4, 200)
    inputs = torch.stack([torch.from_numpy(x), torch.ones(200, dtype=torch.float64)], dim=1)
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
