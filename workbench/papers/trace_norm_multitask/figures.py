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
COLOURS = dict(zip(LINES, (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4]), strict=True))


def draw_comparison(result: xr.Dataset, factorised: xr.Dataset | None = None, tasks: int | None = None) -> Figure:
    """Against the number of tasks: error (one panel a number of samples), sine distance, and paired ratios to ridge and moments.

    `factorised` adds Burer-Monteiro at `tasks`; what lies above the panel is marked at its upper edge.
    """
    columns = result.sizes["m"]
    figure, axes = plt.subplots(2, columns + 1, figsize=(4.1 * (columns + 1), 6.6), squeeze=False)
    for column, m in enumerate(result.m.values):
        one = result.sel(m=m)
        for name in LINES:
            samples = one.error.sel(estimator=name).transpose("seed", "tasks").values
            figures.band(
                axes[0, column], one.tasks.values, samples, name, color=COLOURS[name], marker="o", markersize=4
            )
        axes[0, column].plot(one.tasks, one.bound, ":", color=GUIDE, label="scale of the bound")
        if factorised is not None and m in factorised.m:
            own = float(factorised.error.sel(m=m).isel(steps=-1).median())
            marker = {"marker": "^" if own > CLIP else "D", "color": "black", "linestyle": "none"}
            axes[0, column].plot(tasks, min(own, 0.97 * CLIP), label="Burer-Monteiro (median)", **marker)
            if own > CLIP:
                axes[0, column].annotate(
                    f"{own:.0f}", (tasks, 0.97 * CLIP), xytext=(-6, -4), textcoords="offset points", ha="right"
                )
        for name in ("moments", "trace norm"):
            samples = one.sine.sel(estimate=name).transpose("seed", "tasks").values
            figures.band(
                axes[1, column], one.tasks.values, samples, name, color=COLOURS[name], marker="o", markersize=4
            )
        axes[0, column].set(title=f"$m={m}$ samples a task", ylim=(0, CLIP))
        axes[1, column].set(ylim=(0, 1.05))
    for row, rival in enumerate(("ridge", "moments")):
        ax = axes[row, columns]
        for colour, m in zip(PALETTE, result.m.values, strict=False):
            ratio = result.error.sel(m=m, estimator="trace norm") / result.error.sel(m=m, estimator=rival)
            samples = ratio.transpose("seed", "tasks").values
            figures.band(ax, result.tasks.values, samples, f"$m={m}$", color=colour, marker="o", markersize=4)
        ax.axhline(1, color=GUIDE, linestyle="--")
        ax.set(ylim=(0, 1.15), ylabel=f"trace norm over {rival}")
        ax.legend(fontsize=8)
    for ax in axes.flat:
        ax.set(xscale="log", xlabel="tasks $T$")
        ax.set_xticks(result.tasks.values, [str(size) for size in result.tasks.values])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("error $|W-W^*|_F/\\sqrt{T}$")
    axes[1, 0].set_ylabel("sine distance")
    found = dict(pair for ax in axes[0, :columns] for pair in zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=len(found), fontsize=8)
    return figure


def draw_sizes(found: dict[str, xr.Dataset]) -> Figure:
    """Error of ridge, trace norm and oracle against the samples a task and against the rank, all else equal."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    words = {"m": "samples a task $m$", "r": "rank $r$"}
    for ax, (size, one) in zip(axes, found.items(), strict=True):
        for name in ("ridge", "trace norm", "oracle"):
            samples = one.error.sel(estimator=name).transpose(size, "seed").values
            ax.plot(one[size], samples, ".", color=COLOURS[name], markersize=4)
            ax.plot(one[size], samples.mean(1), "o-", color=COLOURS[name], markersize=4, label=name)
        ax.set(xscale="log", yscale="log", xlabel=words[size], ylabel="error $|W-W^*|_F/\\sqrt{T}$", ylim=(0.2, 6))
        ax.set_xticks(one[size].values, [str(value) for value in one[size].values])
        ax.set_yticks([0.3, 1, 3], ["0.3", "1", "3"])
        ax.minorticks_off()
    axes[0].legend()
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


def draw_recovery(sweep: xr.Dataset, across: xr.Dataset, r: int, plane: xr.Dataset) -> Figure:
    """Error against noise on both sides of the threshold; shares recovered with exact intervals; their map in (m, T)."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.5, 3.6))
    for colour, m in zip(PALETTE, sweep.m.values, strict=False):
        samples = sweep.error.sel(m=m).transpose("sigma", "seed").values
        left.plot(sweep.sigma, samples, color=colour, linewidth=0.8, alpha=0.6)
        left.plot(sweep.sigma, np.median(samples, axis=1), "o-", color=colour, markersize=4, label=f"$m={m}$ (median)")
    sigma = sweep.sigma.values
    left.plot(sigma, 1.3 * sigma, "--", color=GUIDE, label="slope 1")
    left.set(xscale="log", yscale="log", xlabel="noise $\\sigma$", ylabel="error $|W-W^*|_F/\\sqrt{T}$")
    left.legend()
    shares = recovered(across, r).isel(sigma=0).transpose("seed", "m").values
    count, n = shares.sum(0), len(shares)
    ends = [binomtest(int(k), n).proportion_ci(method="exact") for k in count]
    low, high = np.array([one.low for one in ends]), np.array([one.high for one in ends])
    middle.errorbar(across.m, count / n, [count / n - low, high - count / n], fmt="o", color=PALETTE[0], capsize=3)
    middle.axvline(float(across.threshold), color=GUIDE, linestyle="--")
    middle.annotate(
        "$\\delta/T$", (float(across.threshold), 0.96), xytext=(-4, 0), textcoords="offset points", ha="right"
    )
    middle.set(xlabel="samples a task $m$", ylabel="share of data sets recovered", ylim=(-0.05, 1.05))
    rows = np.arange(plane.sizes["tasks"])
    shown = right.pcolormesh(plane.m, rows, plane.share, cmap="cividis", vmin=0, vmax=1, shading="nearest")
    figure.colorbar(shown, ax=right, label="share recovered")
    right.plot(plane.threshold, rows, "o--", color="white", markeredgecolor="black", label="$\\delta/T$")
    right.set_yticks(rows, [str(size) for size in plane.tasks.values])
    right.set(xlabel="samples a task $m$", ylabel="tasks $T$")
    right.legend(fontsize=8, loc="upper right")
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
