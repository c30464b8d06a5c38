"""Figures of the diagonal networks, the ReLU fits and the convergence theorems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from workbench.figures import PALETTE, band, describe
from workbench.papers.understanding_sam.relu_regression import relu_regression

GD, N_SAM, ONE_SAM, RANDOM = PALETTE[:4]
_OVER_GD = "test loss / that of\ngradient descent"


def draw_decay(flow: xr.Dataset, seed: int, radii: Sequence[float], support: int) -> Figure:
    """Decay of the effective initialisation by feature, measured and predicted, of one seed at the smallest step."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharex=True)
    one = flow.sel(seed=seed).isel(gamma=-1)
    for ax, method, rho in zip(axes, flow.rule.values, radii, strict=True):
        decay, predicted = (one[name].sel(rule=method).values for name in ("decay", "predicted"))
        features = np.arange(1, len(decay) + 1)
        for part, colour, label in ((slice(support), ONE_SAM, "on the support"), (slice(support, None), GD, "off it")):
            ax.bar(features[part], decay[part], color=colour, label=label)
        ax.plot(features, predicted, "kx", label=r"$\rho\Delta$ (theorem)")
        ax.set(title=f"{method}, $\\rho$ = {rho:g}", xlabel="feature $j$", ylabel="log-decay of the\ninitialisation")
        ends = decay[:support].mean(), decay[support:].mean()
        describe(ax, f"mean decay {ends[0]:.3g} on the support, {ends[1]:.3g} off it")
    axes[1].legend()
    return figure


def draw_training(curves: Mapping[str, xr.Dataset]) -> Figure:
    """Training and test loss against the step, median over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharex=True)
    for ax, quantity in zip(axes, ["train_loss", "test_loss"], strict=True):
        for (label, curve), colour, dash in zip(curves.items(), (GD, N_SAM, ONE_SAM), ["-", "--", "-."], strict=True):
            shown = curve[quantity].sel(step=slice(1, None))
            band(ax, None, shown, label, average="median", log=True, color=colour, linestyle=dash)
        ax.set(xscale="log", xlabel="step", ylabel=f"{'training' if quantity == 'train_loss' else 'test'} loss")
    axes[0].legend()
    return figure


def draw_radius(ratios: Mapping[str, xr.DataArray], lost: Mapping[str, xr.DataArray]) -> Figure:
    """Test loss over gradient descent's against the radius; radii at which runs were lost have an open marker on the top."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    for (name, ratio), colour, marker in zip(ratios.items(), (N_SAM, ONE_SAM), "so", strict=True):
        band(
            ax, ratio.rho, ratio.transpose("seed", "rho"), name, average="median", log=True, color=colour, marker=marker
        )
        gone = lost[name].sum("seed")
        at = gone.rho.values[gone.values > 0]
        ax.plot(
            at, np.ones(len(at)), marker, color=colour, mfc="none", transform=ax.get_xaxis_transform(), clip_on=False
        )
        for rho in at:
            describe(
                ax,
                f"{name}: {int(gone.sel(rho=rho))} of {gone.sizes.get('seed', ratio.sizes['seed'])} runs lost at {rho:g}",
            )
    radii = sorted({float(rho) for ratio in ratios.values() for rho in ratio.rho})
    _one(ax, xscale="log", xlabel=r"radius $\rho$", ylabel=_OVER_GD)
    _ticks(ax, radii)
    ax.legend()
    return figure


def draw_groups(ratio: xr.DataArray, rho: float) -> Figure:
    """Test loss over gradient descent's against the samples per displacement."""
    figure, ax = plt.subplots(figsize=(7.5, 3.6))
    one = ratio.sortby("m")
    label = f"m-SAM, $\\rho$ = {rho:g}"
    band(ax, one.m, one.transpose("seed", "m"), label, average="median", color=ONE_SAM, marker="o")
    places = np.repeat(one.m.values, one.sizes["seed"])
    ax.plot(places, one.transpose("m", "seed").values.ravel(), ".", color="0.6", zorder=0, label="single seeds")
    _one(ax, xscale="log", xlabel="samples per displacement $m$", ylabel=_OVER_GD)
    _ticks(ax, one.m.values)
    ax.legend()
    return figure


def draw_shape(limits: xr.Dataset) -> Figure:
    """Test loss of the predicted limits over gradient flow's: n-SAM's own decay and its mean spread evenly."""
    figure, ax = plt.subplots(figsize=(7.5, 3.2))
    for name, marker, colour, label in (
        ("own", "s", N_SAM, "its own decay"),
        ("even", "o", ONE_SAM, "same mean, spread evenly"),
    ):
        ratio = limits[name] / limits.flow
        ax.plot(limits.seed, ratio, marker, color=colour, label=label)
        describe(ax, f"{label}: {float(ratio.min()):.3g} to {float(ratio.max()):.3g} over {ratio.size} seeds")
    _one(ax, xlabel="seed", ylabel="test loss of the minimiser /\nthat of gradient flow")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure


def draw_late(ratio: xr.DataArray, rho: float) -> Figure:
    """Test loss over gradient descent's against the step at which 1-SAM is switched on."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    label = f"1-SAM ($\\rho$ = {rho:g}) from step $t_s$ on"
    band(ax, ratio.start + 1, ratio.transpose("seed", "start"), label, average="median", color=ONE_SAM, marker="o")
    _one(ax, xscale="log", xlabel="switching time $t_s + 1$ [steps]", ylabel=_OVER_GD)
    ax.set_ylim(0, None)
    ax.legend()
    return figure


def draw_finetuning(tuned: xr.Dataset, before: xr.Dataset, ratio: xr.DataArray, stalled: xr.DataArray) -> Figure:
    """Losses after the switch to 1-SAM at several stability numbers, and the test loss over continued gradient descent's."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    targets = ratio.Lam.values
    for ax, quantity in zip(axes, ["train_loss", "test_loss"], strict=False):
        for Lam, colour, dash in zip(targets, PALETTE, ["-", "--", "-.", ":"] * 10, strict=False):
            curve = tuned[quantity].sel(Lam=Lam, step=slice(1, None))
            band(ax, None, curve, rf"$\Lambda$ = {Lam:g}", average="median", log=True, color=colour, linestyle=dash)
        ax.axhline(before[quantity].median(), color="0.3", linewidth=1, label="at the switch")
        name = "training" if quantity == "train_loss" else "test"
        ax.set(xscale="log", xlabel="steps after the switch", ylabel=f"{name} loss")
    axes[0].legend()
    for Lam in targets:
        one, stall = ratio.sel(Lam=Lam).values, stalled.sel(Lam=Lam).values == 1
        places = Lam + 0.06 * (np.arange(one.size) / one.size - 0.5)
        axes[2].plot(places[~stall], one[~stall], "o", color=GD, mfc="none", label="training loss falls")
        axes[2].plot(places[stall], one[stall], "X", color=ONE_SAM, label="training loss stalls")
        describe(axes[2], f"{int(stall.sum())} of {one.size} runs stall at {Lam:g}")
    axes[2].axvline(2, color="0.3", linewidth=1)
    axes[2].set(yscale="log", xlabel=r"stability number $\Lambda$", ylabel="test loss / continued gradient descent")
    _plain_logs(axes[2])
    handles, labels = axes[2].get_legend_handles_labels()
    axes[2].legend(dict(zip(labels, handles, strict=True)).values(), dict.fromkeys(labels), loc="lower left")
    return figure


def draw_relu(fits: xr.Dataset) -> Figure:
    """Fits of all seeds through the twelve points, one panel per radius."""
    points = relu_regression()
    figure, axes = plt.subplots(1, fits.rho.size, figsize=(3.4 * fits.rho.size, 3.4), sharey=True, squeeze=False)
    for ax, rho, colour in zip(axes[0], fits.rho.values, PALETTE, strict=False):
        ax.plot(fits.x, fits.fit.sel(rho=rho).transpose("x", "seed"), color=colour, linewidth=0.9, alpha=0.6)
        ax.plot(points.inputs, points.targets, "ko", markersize=4)
        variation, loss = (float(fits[name].sel(rho=rho).median()) for name in ("slope_tv", "train_loss"))
        ax.set(title=f"$\\rho$ = {rho:g}\nslope variation {variation:.0f}", xlabel="$x$", ylim=(-4, 4))
        describe(ax, f"{fits.seed.size} fits, median training loss {loss:.2g}")
    axes[0, 0].set_ylabel("fit $f(x)$")
    return figure


def draw_convergence(nonconvex: xr.Dataset, pl: xr.Dataset) -> Figure:
    """Means over draws and the theorems' bounds against the number of steps."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
    tables = [
        ("horizon", nonconvex.mean_square, nonconvex.bound, "mean squared gradient"),
        ("step", pl.loss, pl.bound, r"$\mathbb{E}\,L(w_T) - L^*$"),
    ]
    for ax, (dim, measured, bound, name) in zip(axes, tables, strict=True):
        mean = measured.mean("seed")
        for size, colour, marker in zip(measured["size"].values, PALETTE, ["o", "s"], strict=False):
            one, limit = mean.sel(size=size), bound.sel(size=size)
            ax.plot(one[dim], one, color=colour, marker=marker, markersize=4, label=f"measured, $b$ = {size}")
            ax.plot(one[dim], limit, "--", color=colour, label=f"bound, $b$ = {size}")
            share = one / limit
            describe(ax, f"b = {size}: {float(share.min()):.2g} to {float(share.max()):.2g} of the bound")
        ax.set(xscale="log", yscale="log", xlabel="number of steps $T$", ylabel=name)
    axes[0].legend()
    return figure


def _one(ax: Axes, **labels: str) -> None:
    """A line at ratio 1, and labels."""
    ax.axhline(1, color="0.3", linewidth=1)
    ax.set(**labels)
    if ax.get_yscale() == "log":
        _plain_logs(ax)


def _plain_logs(ax: Axes) -> None:
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()


def _ticks(ax: Axes, places) -> None:
    ax.set_xticks(places, [f"{place:g}" for place in places])
    ax.minorticks_off()
