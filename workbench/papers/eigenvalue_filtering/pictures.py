"""The figures of the notebook; each registers in words what it drew."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from workbench.figures import describe, interval, paired_ratio, phase_diagram, spectrum_strip
from workbench.figures.style import GUIDE, PALETTE
from workbench.optimizers import admissible_set, by_name, filter_ratio, max_sharpness
from workbench.papers.eigenvalue_filtering.networks import ORDER
from workbench.papers.eigenvalue_filtering.optimizers import KINDS, label
from workbench.papers.eigenvalue_filtering.saddles import edge_of_usam

COLOUR = dict(zip(KINDS, PALETTE, strict=False))
MARKER = dict(zip(KINDS, "osv^D<", strict=True))
_LINES = {"": "-", "heavy_ball": "--", "nesterov": ":"}


def _kind(name: str) -> str:
    return name.partition("+")[0]


def draw_filters(step_size: float = 0.3, rho: float = 0.4) -> Figure:
    """alpha p(lambda)/c of every kind against lambda, the band 0 to 1 shaded, the eigenvalues that pass as bars below."""
    figure, (top, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, height_ratios=(3, 1.3))
    rules = {kind: by_name(kind, step_size, rho=rho) for kind in KINDS if kind != "gradient_penalty"}
    low, high = -3 / rho, 1.3 * max_sharpness(rules["gd"])
    eigenvalues = np.linspace(low, high, 600)
    top.axhspan(0, 1, color="0.9")
    for height, (kind, rule) in enumerate(rules.items()):
        top.plot(eigenvalues, filter_ratio(rule, eigenvalues), color=COLOUR[kind], label=label(kind))
        for first, last in (band := admissible_set(rule)):
            below.plot([first, last], [height, height], color=COLOUR[kind], linewidth=7, solid_capstyle="butt")
            below.plot([first, last], [height, height], "|", color=COLOUR[kind], markersize=11)
        describe(below, f"{label(kind)} lets pass " + " and ".join(f"{a:.3g} to {b:.3g}" for a, b in band))
    top.set(ylim=(-0.6, 1.6), ylabel=r"$\alpha\, p(\lambda)/c$")
    top.legend(ncols=2, loc="lower right", fontsize=9)
    below.set(yticks=range(len(rules)), yticklabels=map(label, rules), xlabel=r"Hessian eigenvalue $\lambda$")
    below.set(xlim=(low, high), ylim=(len(rules) - 0.5, -0.5))
    return figure


def draw_edges(found: xr.Dataset, *, rho: float, beta: float) -> Figure:
    """Sharpness of every limit against the step size under the filter's edge; crosses: limits that were audited."""
    names, steps = list(found.optimizer.values), found.step_size.values
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    size = (3.1 * columns + 0.6, 2.7 * rows + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    fine = np.geomspace(0.9 * steps.min(), 1.1 * steps.max(), 60)
    for ax, name in zip(axes.flat, names, strict=False):
        bound = [max_sharpness(by_name(name, float(a), rho=rho, beta=beta)) for a in fine]
        ax.plot(fine, bound, color="black", linewidth=1.4)
        one = found.sel(optimizer=name)
        clean, suspect = one.sharpness.where(~one.suspects), one.sharpness.where(one.suspects)
        ax.plot(steps, clean, "o", color=COLOUR[_kind(name)], alpha=0.5, markersize=4, markeredgewidth=0)
        ax.plot(steps, suspect, "x", color="black", markersize=6)
        ax.set(xscale="log", ylim=(0, 1.4 * float(found.sharpness.max().fillna(10))))
        ax.set_title(label(name), fontsize=10)
        ax.tick_params(labelbottom=True)
        ax.set_xticks(steps, [f"{a:g}" for a in steps], fontsize=8)
        ax.minorticks_off()
        largest = float(one.highest.max())
        gone, n = int(one.diverged.sum()), one.limit.size
        told = f"largest $\\alpha p(\\lambda)/c$ {largest:.3f}" if np.isfinite(largest) else "no limit"
        describe(ax, f"{int(one.limit.sum())} limits of {n} runs, {gone} diverged, {told}")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel(r"step size $\alpha$", fontsize=11)
    figure.supylabel(r"sharpness $\lambda_{\max}$ at the limit", fontsize=11)
    return figure


def draw_histories(curves: xr.Dataset, step_size: float, *, rho: float, beta: float) -> Figure:
    """Sharpness above, loss below, one line a seed, with the filter's edge."""
    names = list(curves.optimizer.values)
    size = (4.4 * len(names) + 0.4, 4.6)
    figure, axes = plt.subplots(2, len(names), figsize=size, sharex=True, sharey="row", squeeze=False)
    for column, name in enumerate(names):
        for ax, quantity in zip(axes[:, column], ("sharpness", "loss"), strict=True):
            lines = curves[quantity].sel(optimizer=name).transpose("step", "seed")
            ax.plot(curves.step, lines, color=COLOUR[_kind(name)], alpha=0.45, linewidth=1)
        bound = max_sharpness(by_name(name, step_size, rho=rho, beta=beta))
        axes[0, column].axhline(bound, color="black", linestyle="--", linewidth=1.2, label=r"edge $\lambda_+$")
        axes[0, column].set(title=rf"{label(name)}, $\alpha$ = {step_size:g}", ylim=(0, 2.2 * bound))
        axes[1, column].set(yscale="log", xlabel="step")
        top = curves.sharpness.sel(optimizer=name)
        above = (top > bound).mean("seed")
        describe(axes[0, column], f"edge {bound:.3g}; share of runs above it {float(above[0]):.2g} at the start, "
                 f"{float(above[-1]):.2g} at the end")  # fmt: skip
    axes[0, 0].set_ylabel(r"sharpness $\lambda_{\max}$")
    axes[0, 0].legend(loc="lower right")
    axes[1, 0].set_ylabel("training loss")
    return figure


def draw_spectra(found: xr.Dataset, step_size: float, *, rho: float, beta: float) -> Figure:
    """All eigenvalues at the limits of one step size, a strip an optimizer, over its pass band."""
    at = found.sel(step_size=step_size)
    names = [name for name in found.optimizer.values if at.limit.sel(optimizer=name).any()]
    figure, ax = plt.subplots(figsize=(8, 0.55 * len(names) + 1.2))
    kept = at.spectrum.where(at.limit & ~at.suspects)
    spectra = [kept.sel(optimizer=name) for name in names]
    bands = [admissible_set(by_name(name, step_size, rho=rho, beta=beta))[-1:] for name in names]
    spectrum_strip(ax, spectra, [label(name) for name in names], band=bands)
    return figure


def draw_basins(settled: xr.DataArray) -> Figure:
    """Share of starts that end in the sharp minimum against the step size in units of the critical one."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    for name, marker in zip(settled.optimizer.values, "osv^D<>", strict=True):
        share = settled.sel(optimizer=name).mean("start")
        style = {"color": COLOUR[_kind(name)], "linestyle": _LINES[name.partition("+")[2]], "marker": marker}
        below, above = share.where(share.relative < 1, drop=True), share.where(share.relative > 1, drop=True)
        for part, words in ((below, label(name)), (above, None)):
            ax.plot(part.relative, part, markersize=5, label=words, **style)
        describe(ax, f"{label(name)}: at least {float(below.min()):.2g} below, at most {float(above.max()):.2g} above")
    ax.axvline(1, color="black", linestyle="--", linewidth=1.2)
    ax.set(xlabel=r"step size over the critical one, $\alpha/\alpha_c$", ylabel="share in the sharp minimum")
    ax.legend(fontsize=8, loc="upper right")
    return figure


def draw_saddles(saddle: xr.DataArray) -> Figure:
    """Share of starts at the strict saddle against the radius, with a line where the filter begins to let -1 pass."""
    figure, ax = plt.subplots(figsize=(7.5, 3.6))
    share, n = saddle.mean("start"), saddle.sizes["start"]
    for kind in saddle.optimizer.values:
        line = share.sel(optimizer=kind)
        ax.plot(saddle.rho, line, marker=MARKER[kind], color=COLOUR[kind], label=label(kind))
        describe(ax, f"{label(kind)}: {', '.join(f'{float(v):.2g}' for v in line)}")
    ax.axvline(1, color="black", linestyle="--", linewidth=1.2, label=r"$\rho=1/|\lambda_-|$")
    ax.set(xlabel=r"perturbation radius $\rho$", ylabel=f"share of {n} starts at the saddle", ylim=(-0.04, 1.04))
    ax.legend(fontsize=8, loc="center left")
    return figure


def draw_digits(found: xr.Dataset) -> Figure:
    """Top eigenvalue over SGD's and accuracy minus SGD's, paired by seed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
    named = found.assign_coords(optimizer=["SGD", *map(label, ORDER[1:])])
    paired_ratio(left, named.sharpness.rename("top eigenvalue"), "SGD", arm="optimizer")
    left.set(xlabel="top eigenvalue over SGD's", ylabel="")
    for row, name in enumerate(named.optimizer.values[1:]):
        gap = (named.accuracy.sel(optimizer=name) - named.accuracy.sel(optimizer="SGD")).values
        middle, low, high = (float(part) for part in interval(gap, "median"))
        right.plot(gap, np.full(gap.shape, row + 0.18), ".", color=PALETTE[0], alpha=0.35)
        right.plot([low, high], [row, row], color=PALETTE[0], linewidth=2.6)
        right.plot(middle, row, "o", color=PALETTE[0], markeredgecolor="white", markersize=8)
        describe(right, f"{name}: median {middle:.2g} [{low:.2g}, {high:.2g}] points")
    right.axvline(0, color=GUIDE, linewidth=1.2)
    right.set_yticks(range(len(ORDER) - 1), [""] * (len(ORDER) - 1))
    right.set(xlabel="test accuracy minus SGD's (points)", ylim=(len(ORDER) - 1.5, -0.5))
    return figure


def draw_diagram(found: xr.Dataset) -> Figure:
    """Share of starts that USAM takes to the saddle over radius and step size, with the two edges of its filter."""
    figure, ax = plt.subplots(figsize=(7, 4))
    radii = np.linspace(float(found.rho.min()), float(found.rho.max()), 60)
    steps = found.step_size.values
    phase_diagram(
        ax, "rho", "step_size", found.share, diverged=found.diverged, log="y", label="share at the saddle",
        xlabel=r"perturbation radius $\rho$", ylabel=r"step size $\alpha$",
        boundary={r"$\rho=1/|\lambda_-|$": ([1, 1], [steps[0], steps[-1]]), r"$\alpha\, p(1)=2$": (radii, edge_of_usam(radii))},
    )  # fmt: skip
    return figure


def draw_mirror(after: xr.DataArray) -> Figure:
    """How far below the edge runs settle that were released above it, with the mirror image."""
    figure, ax = plt.subplots(figsize=(6, 3.4))
    excesses: Sequence[float] = after.excess.values
    ax.plot(excesses, 1 - after.transpose("excess", "kick"), "o", color=PALETTE[0], alpha=0.6)
    ax.plot([0, max(excesses)], [0, max(excesses)], "--", color="black", linewidth=1.2, label="mirror image")
    ax.set(xlabel=r"released above the edge by $r-1$", ylabel=r"settled below it by $1-r$")
    ax.legend()
    ends = 1 - after.mean("kick")
    told = ", ".join(f"{e:g} to {float(s):.3g}" for e, s in zip(excesses, ends, strict=True))
    describe(ax, f"from above to below: {told}")
    return figure
