"""The paper's figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from scipy.stats import binomtest

from workbench.figures.style import GUIDE, PALETTE


def draw_exactness(exact: xr.Dataset, off: xr.Dataset) -> Figure:
    """Whole Hessian against formula; their distance in rounding errors, the control's far above; the bounds as bars."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.6))
    ends = [float(exact.formula.min()) / 1.5, float(exact.formula.max()) * 1.5]
    left.plot(ends, ends, color=GUIDE, linewidth=0.8)
    order = exact.sortby(exact.formula / exact.lower)
    for colour, depth in zip(PALETTE, np.unique(exact.depth), strict=False):
        own = exact.sel(case=exact.depth == depth)
        left.plot(own.formula, own.hessian, "o", color=colour, markersize=4, label=f"$L={depth}$")
        place = np.flatnonzero(order.depth == depth)
        value = (order.hessian / order.lower).values[place]
        right.vlines(place, 1, (order.upper / order.lower).values[place], color=colour, linewidth=1)
        right.plot(place, value, ".", color=colour, markersize=5)
    left.set(
        xscale="log", yscale="log", xlabel=r"$2\lambda_{\max}(K)$", ylabel=r"$\lambda_{\max}$ of the whole Hessian"
    )
    left.legend(fontsize=8)
    for data, colour, marker, name in (
        (exact, PALETTE[0], "o", "minimisers"),
        (off, PALETTE[1], "^", "target changed"),
    ):
        error = np.maximum(abs(data.hessian - data.formula) / data.tau, 1e-3)
        middle.plot(np.sort(error)[::-1], marker, color=colour, markersize=4, label=name)
    middle.axhline(1, color=GUIDE, linestyle="--")
    middle.set(yscale="log", xlabel="case, sorted", ylabel="difference in rounding errors")
    middle.legend(fontsize=8)
    right.set(yscale="log", xlabel="case, sorted (bars: bounds)", ylabel="sharpness over the flattest")
    return figure


def draw_escape(found: xr.Dataset, depth: int) -> Figure:
    """Distance from the minimiser for stable and unstable steps, with the predicted slope; where the runs land."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    one = found.sel(depth=depth)
    styles = dict(zip(one.c.values, PALETTE, strict=False))
    for c, colour in styles.items():
        for line, eps in zip(("-", ":"), one.eps.values, strict=False):
            middle = np.nanmedian(one.path.sel(c=c, eps=eps).transpose("step", "seed").values, axis=1)
            left.plot(one.step, middle, line, color=colour, label=f"$c={c:g}$" if line == "-" else None)
        rate = abs(2 * c - 1)
        if c > 1:
            smallest = float(one.eps.min())
            reach = np.log(0.1 / smallest) / np.log(rate)
            steps = np.linspace(0, min(float(one.step.max()), reach), 50)
            left.plot(steps, 0.3 * smallest * rate**steps, "--", color=colour, linewidth=0.9)
    left.set(yscale="log", xlabel="step", ylabel=r"distance $|\theta-\theta^*|$ (median)", ylim=(1e-10, 10))
    left.legend(fontsize=8)
    for place, (c, colour) in enumerate((c, colour) for c, colour in styles.items() if c > 1):
        runs = found.sel(c=c).isel(eps=-1)
        ends, done = runs.stability.values.ravel(), (runs.converged & runs.escaped).values.ravel()
        spread = place + 0.5 * (np.arange(len(ends)) / max(1, len(ends) - 1) - 0.5)
        right.plot(spread[done], ends[done], "o", color=colour, markersize=4, label=f"$c={c:g}$, converged")
        right.plot(spread[~done], ends[~done], "o", color=colour, markersize=4, fillstyle="none", alpha=0.5)
        right.plot([place - 0.4, place + 0.4], [2 - c] * 2, color=colour, linestyle="--")
    right.axhline(1, color=GUIDE)
    right.set_ylim(top=1.004)
    right.annotate(
        r"edge $2/\eta$", (0.02, 1), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points"
    )
    right.set(
        xticks=[], ylabel=r"$\lambda_{\max}\,\eta/2$ at the end", xlabel="runs (open: still moving; dashed: $2-c$)"
    )
    right.legend(fontsize=8, loc="lower left")
    return figure


def draw_ceiling(found: xr.Dataset) -> Figure:
    """Share of converged runs against the step size over the ceiling, with exact intervals."""
    figure, ax = plt.subplots(figsize=(6, 3.4))
    for colour, marker, depth in zip(PALETTE, "os", found.depth.values, strict=False):
        runs = found.converged.sel(depth=depth).transpose("seed", "ratio").values
        count, n = runs.sum(0), len(runs)
        ends = [binomtest(int(k), n).proportion_ci(method="exact") for k in count]
        low, high = np.array([one.low for one in ends]), np.array([one.high for one in ends])
        bars = [count / n - low, high - count / n]
        ax.errorbar(found.ratio, count / n, bars, fmt=f"{marker}-", color=colour, capsize=3, label=f"$L={depth}$")
    ax.axvline(1, color=GUIDE, linestyle="--")
    ax.set(
        xlabel=r"step size over the ceiling $\eta/\eta_{\max}$",
        ylabel="share of runs that converge",
        ylim=(-0.03, 1.03),
    )
    ax.legend()
    return figure


def draw_plane(pairs: xr.Dataset, path: xr.Dataset) -> Figure:
    """Depth two: minimisers in the plane of imbalance and misalignment (triangles: farther out); sharpness along a gauge path."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    end = float(np.quantile([pairs.imbalance, pairs.misalignment], 0.95))
    x, y = np.minimum(pairs.imbalance, end), np.minimum(pairs.misalignment, end)
    far = ((pairs.imbalance > end) | (pairs.misalignment > end)).values
    norm = LogNorm(float(pairs.excess.min()), float(pairs.excess.max()))
    for which, marker in ((~far, "o"), (far, ">")):
        shown = left.scatter(x[which], y[which], c=pairs.excess[which], cmap="viridis", s=22, norm=norm, marker=marker)
    figure.colorbar(shown, ax=left, label=r"$\lambda_{\max}-4m$ (lines: equal)")
    for level in np.linspace(0, 2 * end, 9)[1:-1]:
        left.plot([0, level], [level, 0], color=GUIDE, linewidth=0.7, zorder=0)
    left.set(
        xlabel="imbalance $2(a-b)^2$", ylabel="misalignment $4(ab-m)$", xlim=(-2, 1.05 * end), ylim=(0, 1.05 * end)
    )
    right.plot(path.g, path.sharpness, color=PALETTE[0])
    for name, colour, words in (
        ("spectral", PALETTE[2], "spectral norms equal"),
        ("frobenius", PALETTE[1], "Frobenius norms equal"),
    ):
        g = float(path[name])
        right.plot(g, float(np.interp(g, path.g, path.sharpness)), "o", color=colour, label=words)
    right.axhline(float(path.flattest), color=GUIDE, linestyle="--", label="flattest of all")
    right.set(xscale="log", xlabel="gauge $g$", ylabel=r"$\lambda_{\max}$")
    right.set_xticks(
        ticks := [float(f"{path.g[k]:.2g}") for k in (0, len(path.g) // 2, -1)], [f"{one:g}" for one in ticks]
    )
    right.minorticks_off()
    right.legend(fontsize=8)
    return figure
