"""The paper's figures."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import workbench as wb
from workbench.figures.style import GUIDE
from workbench.papers.swad import left_out_measures as measures
from workbench.papers.swad import weight_averages as averages
from workbench.papers.swad.gains import accuracies
from workbench.papers.swad.study import CURVES, GRID, LANDSCAPES, hand_valley
from workbench.papers.swad.threshold_domains import ThresholdDomains

BLUE, ORANGE, GREEN = wb.figures.PALETTE[:3]


def draw_windows() -> Figure:
    """Three hand-made loss curves with their windows and thresholds."""
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.9), sharey=True)
    for ax, name in zip(axes, ["A", "C", "D, never closes"], strict=True):
        losses, (start, end) = CURVES[name]
        found = hand_valley(name)
        ax.axvspan(start, end, color=GREEN, alpha=0.18, label="window")
        ax.axhline(float(found.threshold), color=GUIDE, linestyle="--", linewidth=1.2, label="threshold")
        ax.plot(losses, "o-", color=BLUE, label="validation loss")
        ax.set(xlabel="evaluation", title=f"curve {name}", ylim=(0, 3))
    axes[0].set_ylabel("loss")
    axes[-1].legend(loc="upper right")
    return figure


def draw_bounds(bounds: xr.Dataset) -> Figure:
    """Risks of thresholds and the robust risk; the room left in both bounds against the number of samples."""
    domains = ThresholdDomains()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2))
    sample = domains.empirical_risk(0, 100)
    left.plot(domains.theta, domains.target_risk, color="black", label="target risk")
    left.plot(domains.theta, sample, color=BLUE, label="empirical source risk, n = 100")
    left.plot(domains.theta, domains.robust(sample, 0.1), color=ORANGE, label=r"robust, $\gamma=0.1$")
    left.set(xlabel=r"threshold $\theta$", ylabel="risk", ylim=(-0.02, 1.02))
    left.legend(loc="upper center")
    for colour, name in ((BLUE, "theorem 1"), (ORANGE, "theorem 2")):
        for mark, gamma in zip("o^s", bounds.gamma.values, strict=False):
            worst = bounds[name].sel(gamma=gamma).min("seed")
            right.plot(bounds.n, worst, mark + "-", color=colour, label=rf"{name}, $\gamma={gamma:g}$")
    right.set(xscale="log", xlabel="samples per source $n$", ylabel="bound minus risk, worst sample", ylim=(0, 2.0))
    right.set_xticks(bounds.n.values, bounds.n.values)
    right.minorticks_off()
    right.legend(fontsize=8.5, ncols=2, loc="upper right", handlelength=1.5, columnspacing=1)
    return figure


def draw_switch() -> Figure:
    """The robust loss at three radii, and its smallest value in each well against the radius."""
    x = torch.linspace(-2.2, 2.6, 961, dtype=torch.float64)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    scene = LANDSCAPES[1]
    for factor, style, colour in ((0, "-", "black"), (1, "--", BLUE), (3, ":", ORANGE)):
        robust = scene.robust_loss(x, factor * scene.switch_radius)
        left.plot(x, robust, style, color=colour, label=rf"$\gamma={factor}\,\gamma_c$")
        left.plot(x[robust.argmin()], robust.min(), "o", color=colour, markeredgecolor="white", zorder=4)
    left.set(xlabel="parameter $x$", ylabel="robust loss", title="the second landscape")
    left.legend(loc="lower center", bbox_to_anchor=(0.46, 0.0))
    factors = np.linspace(0, 2, 41)
    for scene, colour in zip(LANDSCAPES, (GREEN, BLUE, ORANGE), strict=True):
        for name, half, style in (("sharp", x < 0, "-"), ("flat", x >= 0, "--")):
            lowest = [float(scene.robust_loss(x[half], factor * scene.switch_radius).min()) for factor in factors]
            right.plot(factors, lowest, style, color=colour, label=rf"{name}, $\gamma_c={scene.switch_radius:.3f}$")
    right.axvline(1, color=GUIDE, linewidth=1)
    right.set(xlabel=r"radius $\gamma/\gamma_c$", ylabel="robust loss at the minimum", title="the two minima")
    right.legend()
    return figure


def draw_run(result: xr.Dataset, domain: int, swad: str) -> Figure:
    """Validation loss with threshold and mean window, target accuracy of the checkpoints and of the average."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.3))
    one = result.sel(target=domain)
    at = one.step.values - 1
    wb.figures.band(left, at, one.curves.sel(quantity="validation loss"), "validation loss", color=BLUE)
    threshold = one.threshold.expand_dims(step=at).transpose("seed", "step")
    wb.figures.band(left, at, threshold, "threshold", color=GUIDE, linestyle="--")
    wb.figures.band(right, at, 100 * one.curves.sel(quantity="target accuracy"), "checkpoints", color=ORANGE)
    ends = [float(at[round(float(one[k].mean()))]) for k in ("start", "end")]
    reached = float(100 * one.accuracy.sel(solution=swad, quantity="target accuracy").mean())
    right.plot(ends, [reached] * 2, color=GREEN, linewidth=3, label="SWAD")
    for ax in (left, right):
        ax.axvspan(*ends, color=GREEN, alpha=0.15, linewidth=0, label="mean window")
        ax.set_xlabel("step")
        ax.legend()
    left.set(ylabel="loss on the sources", title=f"domain {domain} left out")
    right.set(ylabel="target accuracy [%]")
    return figure


def draw_methods(result: xr.Dataset) -> Figure:
    """Every average minus ERM, paired by seed: on the unseen domain and on held-out samples of the sources."""
    order = ["ERM last", "SWA", "w/o Opt-Overfit", "LAWA last", "EMA last", "ERM", "any place", "w/o Overfit"]
    order += ["LAWA", "EMA", "w/o Dense", "fit on val", "SWAD released", "SWAD", "oracle"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 4.6), sharey=True)
    for ax, quantity in ((left, "target accuracy"), (right, "validation accuracy")):
        values = accuracies(result, quantity)
        paired = values - values.sel(weights="ERM", drop=True)
        for row, name in enumerate(order):
            if name not in paired.weights.values:
                continue
            colour = GREEN if name.startswith("SWAD") else "0.5" if name == "oracle" else BLUE
            middle, low, high = wb.figures.interval(paired.sel(weights=name).values)
            bars = np.nan_to_num([[middle - low], [high - middle]])
            ax.errorbar(middle, row, xerr=bars, fmt="o", color=colour, capsize=3)
        ax.axvline(0, color=GUIDE, linewidth=1)
        ax.set_xlabel(f"{quantity} minus ERM's [pp]")
    left.set_yticks(range(len(order)), order)
    return figure


def draw_flatness(result: xr.Dataset, swad: str) -> Figure:
    """F as a multiple of ERM's against absolute and relative radii, on the sources and on the target."""
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 4.8), sharex="col")
    kinds = [("flatness", "radius", r"radius $\gamma$"), ("relative", "relative_radius", r"radius $\gamma/\|\theta\|$")]
    for column, (kind, axis, label) in enumerate(kinds):
        means = result[kind].mean("target").transpose("part", "point", "seed", axis)
        for row, part in enumerate(("source", "target")):
            ax = axes[row, column]
            ax.axhline(1, color=BLUE, label="ERM")
            for name, colour, mark in ((swad, GREEN, "s"), ("SWA", ORANGE, "D")):
                ratio = means.sel(part=part, point=name) / means.sel(part=part, point="ERM")
                wb.figures.band(ax, ratio[axis].values, ratio.values, name, color=colour, marker=mark)
            ax.set(ylabel=rf"$F_\gamma$ / ERM's, {part}", xlabel=label if row else "")
    axes[0, 0].set_ylim(bottom=0.4)
    axes[0, 0].legend(loc="lower center", ncols=3)
    return figure


def draw_plane(problem: Any, path: averages.Trajectory) -> Figure:
    """The loss on sources and target in the plane through three checkpoints of one run."""
    three = [averages.as_parameters(path, path.checkpoints[i]) for i in measures.three_places(path)]
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.5))
    for ax, part in zip(axes, ("source", "target"), strict=True):
        plane = wb.curvature.loss_plane(problem.part_loss(part), *three, points=25)
        levels = np.geomspace(float(plane.values.min()), float(plane.values.max()), 10)
        drawn = ax.contourf(plane.x, plane.y, plane.values, levels=levels, cmap="viridis", norm="log")
        ax.contour(plane.x, plane.y, plane.values, levels=levels, colors="white", linewidths=0.4)
        ax.plot(*plane.corners.T, "o", color="white", markeredgecolor="black", markersize=8, label="three checkpoints")
        ax.plot(*plane.mean, "*", color="#d55e00", markeredgecolor="white", markersize=17, label="their mean")
        ax.set(xlabel=r"distance along $\theta_2-\theta_1$", ylabel="distance across", title=f"loss on the {part}")
        ax.grid(False)
        figure.colorbar(drawn, ax=ax, format="%.2g")
    axes[0].legend(loc="upper left")
    return figure


def draw_surface(result: xr.Dataset) -> Figure:
    """Target accuracy of SWAD over its hyper-parameters, every cell from the same runs."""
    figure, ax = plt.subplots(figsize=(6.8, 3.2))
    surface = 100 * result.surface.mean(("seed", "target"))
    wb.figures.heatmap(
        ax,
        surface.values,
        x=GRID["tolerances"],
        y=GRID["n_tolerances"],
        write="{:.1f}",
        label="target accuracy of SWAD [%]",
        xlabel="tolerance $r$",
        ylabel="$N_e$",
    )
    return figure
