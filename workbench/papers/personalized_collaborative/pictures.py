"""The figures of the notebook: each function draws on Axes that it is given and registers what it drew in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from scipy.stats import t as student

from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.words import describe
from workbench.papers.personalized_collaborative import theory
from workbench.papers.personalized_collaborative.quadratic_users import full_weight

_MARKERS = "osD^v"
_STYLES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)))


def speed_ups(ax: Axes, curves: Mapping[str, xr.DataArray]) -> None:
    """T over the steps to local's accuracy against N + 1, with the line N + 1."""
    for k, (label, curve) in enumerate(curves.items()):
        ax.loglog(curve.N + 1, curve, _STYLES[k], marker=_MARKERS[k], color=PALETTE[k], label=label)
        describe(
            ax,
            f"{label}: {float(curve[0]):.2f} at N = {int(curve.N[0])} to {float(curve[-1]):.2f} at N = {int(curve.N[-1])}",
        )
    N = next(iter(curves.values())).N.values
    ax.loglog(N + 1, N + 1, ":", color=GUIDE, label="$N+1$")
    ax.axhline(1, color=GUIDE, linewidth=1)
    _plain_ticks(ax, N + 1)
    ax.set(xlabel="users $N+1$", ylabel="speed-up over local", title=r"steps to local's $M$")
    ax.legend(fontsize=9)


def gains_by_shift(ax: Axes, gains: xr.DataArray) -> None:
    """Gain over local descent against N for each delta, every instance a thin line, the mean thick."""
    for k, delta in enumerate(gains.delta.values):
        one = gains.isel(delta=k)
        ax.loglog(gains.N + 1, one.values.T, color=PALETTE[k], linewidth=0.7, alpha=0.5)
        mean = one.mean("seed")
        ax.loglog(gains.N + 1, mean, _STYLES[k], marker=_MARKERS[k], color=PALETTE[k], label=rf"$\delta={delta:g}$")
        describe(ax, f"delta = {delta:g}: mean gain {float(mean[0]):.2f} to {float(mean[-1]):.2f}")
    _plain_ticks(ax, gains.N.values + 1)
    _plain_ticks(ax, np.array([1, 1.5, 2, 3, 4]), vertical=True)
    ax.set(xlabel="users $N+1$", ylabel="gain $M_{local}/M$", title="others of another curvature")
    ax.legend(fontsize=9)


def limits(ax: Axes, corrected: xr.DataArray, unbiased: xr.DataArray) -> None:
    """Best risk over the limit of any linear method against N; averaging over users known to be unbiased goes below it."""
    for k, zeta in enumerate(corrected.zeta.values):
        line = corrected.sel(zeta=zeta)
        ax.loglog(corrected.N, line, _STYLES[k], marker=_MARKERS[k], color=PALETTE[k], label=rf"BC, $\zeta={zeta:g}$")
        describe(ax, f"BC, zeta = {zeta:g}: {float(line[0]):.2f} to {float(line[-1]):.2f} times the limit")
    line = unbiased.isel(zeta=0)
    ax.loglog(unbiased.N, line, ":", marker="x", color=GUIDE, label=r"WGA, $\zeta=0$")
    describe(ax, f"WGA without bias: {float(line[0]):.2g} to {float(line[-1]):.2g} times the limit")
    ax.axhline(1, color=GUIDE, linewidth=1.2)
    _plain_ticks(ax, corrected.N.values)
    ax.set(xlabel="others $N$", ylabel="best risk over the limit", title="no free lunch")
    ax.legend(fontsize=9)


def curves(ax: Axes, means: Mapping[str, xr.DataArray]) -> None:
    """M(t) of each method at its best step size."""
    for k, (label, mean) in enumerate(means.items()):
        best = mean.isel(beta=0).isel(step_size=int(mean.isel(beta=0, step=-1).argmin("step_size")))
        ax.loglog(best.step[1:], best[1:], linestyle=_STYLES[k], color=PALETTE[k], label=label)
        describe(ax, f"{label}: {float(best[-1]):.4f} after {int(best.step[-1])} steps")
    ax.set(xlabel="steps $t$", ylabel="$M(t)$", title="mean squared gradient norm")
    ax.legend(fontsize=9)


def weights(ax: Axes, zeta: float, eta: float, N: int) -> None:
    """Stationary risk against the weight alpha: bias, variance, their sum and its minimiser."""
    alpha = np.linspace(0, 1, 201)
    whole = theory.stationary_gap(alpha, zeta, eta, N)
    variance = theory.stationary_gap(alpha, 0.0, eta, N)
    best = float(theory.best_weight(zeta, eta, N))
    for k, (part, label) in enumerate(((whole, "risk"), (whole - variance, "bias"), (variance, "variance"))):
        ax.plot(alpha, part, linestyle=_STYLES[k], color=PALETTE[k], label=label)
    ax.axvline(best, color=GUIDE, linestyle=":", label=rf"$\alpha^*={best:.3f}$")
    ax.axvline(full_weight(N), color=GUIDE, linewidth=0.8, label="equal weights")
    describe(ax, f"least risk at alpha = {best:.3f}, {float(whole.min() / whole[0]):.2f} of local's")
    ax.set(xlabel=r"weight $\alpha$", ylabel="stationary risk", title=rf"$\zeta={zeta:g}$, $\eta={eta:g}$, $N={N}$")
    ax.legend(fontsize=9)


def weight_map(ax: Axes, N: int) -> None:
    """Best weight over the bias zeta and the step size (the precision that is asked for)."""
    zetas, etas = np.geomspace(0.01, 10, 61), np.geomspace(1e-3, 1, 61)
    best = np.array([[theory.best_weight(float(zeta), float(eta), N) for zeta in zetas] for eta in etas])
    mesh = ax.pcolormesh(zetas, etas, best, vmin=0, vmax=1, cmap="viridis", rasterized=True)
    lines = ax.contour(zetas, etas, best, levels=[0.1, 0.5, 0.8], colors="white", linewidths=1.2)
    ax.clabel(lines, fontsize=9)
    ax.set(
        xscale="log", yscale="log", xlabel=r"bias $\zeta$", ylabel=r"step size $\eta$", title=rf"best weight, $N={N}$"
    )
    ax.figure.colorbar(mesh, ax=ax, label=r"$\alpha^*$")
    describe(
        ax, f"the best weight falls from {best.max():.2f} to {best.min():.1e} as the bias grows and the step size falls"
    )


def digit_gaps(
    ax: Axes, gaps: Mapping[tuple[str, float], xr.DataArray], local: xr.DataArray, angles: Sequence[float]
) -> None:
    """Mean gap of each method over local's at every angle, with jackknife intervals over seeds."""
    methods = list(dict.fromkeys(method for method, _ in gaps))
    for k, method in enumerate(methods):
        for j, angle in enumerate(angles):
            middle, low, high = _jackknife(gaps[method, angle].values, local.values)
            place = k + 0.16 * (j - 0.5 * (len(angles) - 1))
            bars = [[middle - low], [high - middle]]
            ax.errorbar(
                [place],
                [middle],
                yerr=bars,
                fmt=_MARKERS[j],
                color=PALETTE[j],
                capsize=3,
                label=f"{angle:g}°" if k == 0 else None,
            )
            describe(ax, f"{method}, {angle:g} degrees: {middle:.2f} [{low:.2f}, {high:.2f}]")
    ax.axhline(1, color=GUIDE, linewidth=1)
    ax.set_yscale("log")
    _plain_ticks(ax, np.array([0.5, 0.7, 1, 2, 5, 10]), vertical=True)
    ax.set_xticks(range(len(methods)), methods)
    ax.set(ylabel="gap over local's", title=f"digits, {local.size} seeds")
    ax.legend(title="others turned by up to", fontsize=9)


def _jackknife(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    n = len(x)
    whole = math.log(x.sum() / y.sum())
    parts = n * whole - (n - 1) * np.log((x.sum() - x) / (y.sum() - y))
    reach = student.ppf(0.975, n - 1) * parts.std(ddof=1) / math.sqrt(n)
    return math.exp(whole), math.exp(whole - reach), math.exp(whole + reach)


def _plain_ticks(ax: Axes, places: np.ndarray, vertical: bool = False) -> None:
    axis = ax.yaxis if vertical else ax.xaxis
    low, high = ax.get_ylim() if vertical else ax.get_xlim()
    shown = [place for place in places if low <= place <= high] or list(places)
    axis.set_ticks(shown, [f"{place:g}" for place in shown])
    axis.set_minor_locator(NullLocator())
