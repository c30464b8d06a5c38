"""The paper's figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import binomtest

from workbench import figures
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.trace_norm_multitask.study import recovered

LINES = ("ridge", "moments", "trace norm", "refit", "oracle")
CLIP = 3.6


def draw_comparison(result: xr.Dataset) -> Figure:
    """Error against the number of tasks, one panel per m, one band per method; the bound's scale dotted."""
    figure, axes = plt.subplots(
        1, result.sizes["m"], figsize=(4.6 * result.sizes["m"], 3.8), squeeze=False, sharey=True
    )
    for ax, m in zip(axes[0], result.m.values, strict=True):
        one = result.sel(m=m)
        for colour, name in zip(PALETTE, LINES, strict=False):
            samples = one.error.sel(estimator=name).transpose("seed", "tasks")
            figures.band(ax, one.tasks.values, samples.values, name, color=colour, marker="o", markersize=4)
        ax.plot(one.tasks, one.bound, ":", color=GUIDE, label="scale of the bound")
        ax.set(xscale="log", xlabel="tasks $T$", title=f"$m={m}$ samples a task")
        ax.set_xticks(result.tasks.values, [str(size) for size in result.tasks.values])
        ax.minorticks_off()
        ax.set_ylim(0, CLIP)
    axes[0, 0].set_ylabel("error $|W-W^*|_F/\\sqrt{T}$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def draw_lambda(curve: xr.Dataset) -> Figure:
    """Error and rank against the penalty in units of the theory's."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    for colour, m in zip(PALETTE, curve.m.values, strict=False):
        one = curve.sel(m=m)
        for ax, name in ((left, "error"), (right, "rank")):
            samples = one[name].transpose("seed", "scale").values.astype(float)
            figures.band(ax, curve.scale.values, samples, f"$m={m}$", color=colour, marker="o", markersize=4)
    for ax, name in ((left, "error $|W-W^*|_F/\\sqrt{T}$"), (right, "rank of the estimate")):
        ax.set(xscale="log", xlabel="penalty over the theory's", ylabel=name)
        ax.set_xticks(curve.scale.values, [f"{scale:g}" for scale in curve.scale.values])
        ax.minorticks_off()
        ax.axvline(1, color=GUIDE, linestyle="--")
    left.legend()
    return figure


def draw_recovery(sweep: xr.Dataset, across: xr.Dataset, r: int) -> Figure:
    """Error against noise on both sides of the threshold; share of data sets recovered against m with exact intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for colour, m in zip(PALETTE, sweep.m.values, strict=False):
        samples = sweep.error.sel(m=m).transpose("seed", "sigma").values
        figures.band(left, sweep.sigma.values, samples, f"$m={m}$", color=colour, marker="o", markersize=4)
    sigma = sweep.sigma.values
    left.plot(sigma, 1.3 * sigma, "--", color=GUIDE, label="slope 1")
    left.set(xscale="log", yscale="log", xlabel="noise $\\sigma$", ylabel="error $|W-W^*|_F/\\sqrt{T}$")
    left.legend()
    shares = recovered(across, r).isel(sigma=0).transpose("seed", "m").values
    count, n = shares.sum(0), len(shares)
    ends = [binomtest(int(k), n).proportion_ci(method="exact") for k in count]
    low, high = np.array([one.low for one in ends]), np.array([one.high for one in ends])
    right.errorbar(across.m, count / n, [count / n - low, high - count / n], fmt="o", color=PALETTE[0], capsize=3)
    right.axvline(float(across.threshold), color=GUIDE, linestyle="--")
    right.annotate(
        "$\\delta/T$", (float(across.threshold), 0.96), xytext=(-4, 0), textcoords="offset points", ha="right"
    )
    right.set(xlabel="samples a task $m$", ylabel="share of data sets recovered", ylim=(-0.05, 1.05))
    return figure


def draw_transfer(error: xr.DataArray) -> Figure:
    """Error on new tasks against the number of learning tasks, between ridge and oracle."""
    figure, ax = plt.subplots(figsize=(6, 3.6))
    for colour, name in zip((PALETTE[0], PALETTE[2], PALETTE[4]), ("ridge", "learned subspace", "oracle"), strict=True):
        samples = error.sel(estimator=name).transpose("seed", "tasks").values
        figures.band(ax, error.tasks.values, samples, name, color=colour, marker="o", markersize=4)
    ax.set(xscale="log", xlabel="tasks the subspace was learned from", ylabel="error on new tasks", ylim=(0, None))
    ax.set_xticks(error.tasks.values, [str(size) for size in error.tasks.values])
    ax.minorticks_off()
    ax.legend()
    return figure
