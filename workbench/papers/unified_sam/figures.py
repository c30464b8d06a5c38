"""The notebook's figures from measured arrays; each says in words what it shows."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workbench.dynamics.times import log_log_slope
from workbench.figures import PALETTE, band, describe, interval
from workbench.figures.style import GUIDE
from workbench.papers.unified_sam import theory

_MARKERS = "os"


def draw_levels(descents: xr.Dataset, plateaus: xr.Dataset) -> Figure:
    """Relative loss of the first rotation for every lam with its closed-form level, and levels beside closed form and bound."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2))
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.92, descents.sizes["lam"]))
    first = descents.isel(seed=0)
    for colour, lam in zip(shades, descents.lam.values, strict=True):
        left.semilogy(first.step, first.loss.sel(lam=lam), color=colour, linewidth=1.6)
        if lam > 0:
            left.axhline(float(plateaus.closed.isel(seed=0).sel(lam=lam)), color=colour, linestyle="--", linewidth=0.9)
    ends = first.loss.isel(step=-1)
    left.set(xlabel="steps $t$", ylabel="$f(x^t)/f(x^0)$", title=r"$\lambda=0$ falls through, the others level off")
    colours = plt.cm.ScalarMappable(plt.Normalize(0, 1), plt.matplotlib.colors.ListedColormap(shades))
    bar = figure.colorbar(colours, ax=left, label=r"$\lambda$ (dashed: closed form)", pad=0.02)
    bar.set_ticks([0, 0.5, 1])
    describe(
        left,
        f"loss after {int(first.step[-1])} steps from {float(ends[0]):.1e} at lam = 0 to {float(ends[-1]):.1e} at lam = 1",
    )
    bounds = [
        theory.neighbourhood(descents.mu, descents.L, 0.0, lam, float(rho), float(gamma))
        / float(first.start.sel(lam=lam))
        for lam, rho, gamma in zip(descents.lam.values, descents.rho.values, descents.gamma.values, strict=True)
        if lam > 0
    ]
    right.semilogy(plateaus.lam, bounds, "--", color=PALETTE[1], marker="s", label="bound $N$ of Theorem 3.2")
    right.semilogy(plateaus.lam, plateaus.closed.isel(seed=0), "-", color=GUIDE, label="closed form")
    right.semilogy(plateaus.lam, plateaus.level.isel(seed=0), "o", color=PALETTE[0], label="measured")
    right.set(xlabel=r"$\lambda$", ylabel="level over $f(x^0)$", title="how loose the bound is")
    right.legend(fontsize=9)
    level = plateaus.level.isel(seed=0).values
    describe(right, f"level {level[0]:.1e} to {level[-1]:.1e} as lam grows, bound {bounds[0]:.1e} to {bounds[-1]:.1e}")
    return figure


def draw_decreasing(errors: xr.Dataset) -> Figure:
    """Mean error of decreasing and of constant steps with its band over runs, a panel for each lam, with slopes -1 and -1/2."""
    figure, panels = plt.subplots(1, errors.sizes["lam"], figsize=(10.5, 3.9), sharey=True, squeeze=False)
    times = errors.step.values
    for ax, lam in zip(panels[0], errors.lam.values, strict=True):
        one = errors.sel(lam=lam)
        band(ax, times, one.decreasing.transpose("seed", "step").values, "decreasing", color=PALETTE[0])
        band(ax, times, one.constant.transpose("seed", "step").values, "constant", color=PALETTE[1], linestyle="--")
        start = float(one.decreasing.mean("seed")[0])
        slope_words = "{:.2f} [{:.2f}, {:.2f}]".format(*interval(log_log_slope(one.decreasing, "step").values))
        for slope, dash in ((-1.0, ":"), (-0.5, "-.")):
            guide = 1.7 * start * (times / times[0]) ** slope
            ax.plot(times, guide, dash, color=GUIDE, linewidth=1.1, label=f"slope {slope:g}")
        ax.set(xscale="log", yscale="log", xlabel="steps $t$", title=rf"$\lambda={lam:g}$: slope {slope_words}")
        # On about one decade the default ticks have no room for their labels.
        marks = [t for t in (100, 200, 500, 1000, 2000, 5000, 10000) if times[0] <= t <= times[-1]]
        ax.set_xticks(marks, [str(t) for t in marks])
        ax.xaxis.set_minor_locator(NullLocator())
    panels[0, 0].set_ylabel("$f(x^t)-f^*$, mean of runs")
    panels[0, 0].legend(fontsize=9, loc="lower left")
    return figure


def draw_importance(
    speed_up: xr.DataArray, sharper: xr.DataArray, unevenness: xr.DataArray, capped: xr.DataArray
) -> Figure:
    """Ratios of steps against L_max/L_avg, a dot per data set, with the line y = x; geometric means with intervals beside.

    capped: whether a uniform run was not there in time (seed,); the dot is then a lower bound.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.9), width_ratios=(2, 1.3))
    names = ("uniform over importance", r"$L_{max}$ over $L_{avg}$ in the steps")
    span = np.array([float(unevenness.min()), float(unevenness.max())])
    left.plot(span, span, color=GUIDE, linewidth=1.2, label="$y=x$")
    for k, (ratio, name) in enumerate(zip((speed_up, sharper), names, strict=True)):
        left.loglog(unevenness, ratio, _MARKERS[k], color=PALETTE[k], markersize=6, alpha=0.85, label=name)
        middle, low, high = (float(part) for part in interval(ratio.values[np.isfinite(ratio.values)], "geometric"))
        right.errorbar(
            [middle], [k], xerr=[[middle - low], [high - middle]], fmt=_MARKERS[k], color=PALETTE[k], capsize=4
        )
        describe(right, f"{name}: geometric mean {middle:.2f} [{low:.2f}, {high:.2f}]")
    if capped.any():
        left.plot(
            unevenness[capped.values],
            speed_up[capped.values],
            "^",
            color=PALETTE[0],
            markersize=11,
            fillstyle="none",
            label="a lower bound",
        )
        describe(left, f"{int(capped.sum())} of the ratios of uniform over importance are lower bounds")
    _plain(left, (2, 3, 4, 5, 6, 8, 10, 15, 20, 30))
    left.set(xlabel="$L_{max}/L_{avg}$ of the data set", ylabel="ratio of steps", title="steps to a tenth of the gap")
    left.legend(fontsize=9)
    describe(left, f"{len(speed_up)} data sets near the line y = x, L_max/L_avg from {span[0]:.1f} to {span[1]:.1f}")
    right.axvline(1, color=GUIDE, linewidth=1.2)
    right.set_yticks([0, 1], ["uniform\nover\nimportance", "$L_{max}$\nover\n$L_{avg}$"])
    right.set(xlabel="ratio of steps (1: no effect)", ylim=(1.6, -0.6), title="geometric mean")
    return figure


def draw_gains(clean: xr.DataArray, noisy: xr.DataArray, table: pd.DataFrame, rho: float, label_noise: float) -> Figure:
    """Gains over SGD with 95 % intervals, clean and noisy labels, beside the paper's of the same radius: dims (rule, seed)."""
    figure, ax = plt.subplots(figsize=(9, 4.2))
    names = [str(name) for name in noisy.rule.values]
    for k, (gain, label) in enumerate(((clean, "clean labels"), (noisy, f"{label_noise:.0%} wrong labels"))):
        for name in gain.rule.values:
            row = names.index(str(name)) + 0.22 * (k - 0.5)
            middle, low, high = (float(part) for part in interval(gain.sel(rule=name).values))
            bars = [[middle - low], [high - middle]]
            title = f"{label}, {gain.sizes['seed']} seeds" if name == gain.rule.values[0] else None
            ax.errorbar([middle], [row], xerr=bars, fmt=_MARKERS[k], color=PALETTE[k], capsize=3, label=title)
            describe(ax, f"lam = {name}, {label}: {middle:+.2f} [{low:+.2f}, {high:+.2f}] pp")
    printed = table[np.isclose(table.rho, rho)]
    if len(printed):
        gains = {str(lam): accuracy - 95.35 for lam, accuracy in zip(printed.lam, printed.accuracy, strict=True)}
        ax.plot(
            [gains[name] for name in names], range(len(names)), "x", color=GUIDE, label="paper, WRN-28-10 on CIFAR-10"
        )
        describe(ax, "paper: " + ", ".join(f"{gains[name]:+.2f} at {name}" for name in names))
    ax.axvline(0, color=GUIDE, linewidth=1.2)
    ax.set_yticks(range(len(names)), [rf"$\lambda={name}$" for name in names])
    ax.set(xlabel="test accuracy over SGD's (percentage points)", ylim=(len(names) - 0.5, -0.5))
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure


def _plain(ax: Axes, marks: Any) -> None:
    """Numbers such as 3 and 5 on both axes, which powers of ten leave nearly without."""
    for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        axis.set_ticks([mark for mark in marks if ends[0] <= mark <= ends[1]])
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
