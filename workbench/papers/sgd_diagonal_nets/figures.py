"""Figures of SGD and its stochastic flow on diagonal networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from workbench.figures import PALETTE, band, describe
from workbench.figures.style import GUIDE, SHADE

GD, SMALL, FLOW, LARGE, LABELS = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4]
_TEST = r"test loss $\|\beta-\beta^*\|^2$"


def _centre(samples: xr.DataArray) -> float:
    """Geometric mean over seeds."""
    return float(np.exp(np.log(samples).mean()))


def draw_training(runs: xr.Dataset, flow: xr.Dataset, descent: xr.Dataset) -> Figure:
    """Test loss against steps, geometric mean over data sets, with the levels of argmin phi at alpha and at alpha_infinity."""
    figure, ax = plt.subplots(figsize=(7.5, 4.4))
    small, large = runs.arm.values[0], descent.arm.values[-1]
    curves = (
        (descent.sel(arm=small), f"GD, {small}", GD, ":"),
        (runs.sel(arm=small), f"SGD, {small}", SMALL, "-"),
        (flow, f"SGF, {small}", FLOW, "--"),
        (runs.sel(arm=large), f"SGD, {large}", LARGE, "-."),
    )
    for one, label, colour, dash in curves:
        curve = one.curve.transpose("seed", "step")
        curve = curve.dropna("step", how="all").sel(step=slice(1, None))
        band(ax, None, curve, label, log=True, color=colour, linestyle=dash)
    levels = (
        (runs.test_flow.sel(arm=small), r"$\alpha$", GD),
        (runs.test_formula.sel(arm=small), rf"$\alpha_\infty$, {small}", SMALL),
        (runs.test_formula.sel(arm=large), rf"$\alpha_\infty$, {large}", LARGE),
    )
    for level, name, colour in levels:
        height = _centre(level)
        ax.axhline(height, color=colour, linewidth=1, linestyle=(0, (6, 3)), zorder=1)
        ax.annotate(
            rf"argmin $\phi$ at {name}",
            (1.2, height),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=9,
            color=colour,
        )
        describe(ax, f"argmin phi at {name}: {height:.3g}")
    ax.set(xscale="log", xlabel="steps (time over step size)", ylabel=_TEST)
    ax.legend(loc="upper right")
    return figure


def draw_decay(runs: xr.Dataset, descent: xr.Dataset) -> Figure:
    """Decay of the effective initialisation, measured against the formula, one point per data set and method."""
    figure, ax = plt.subplots(figsize=(6.4, 5.0))
    kinds = [(runs.sel(arm=arm), f"SGD, {arm}") for arm in (*descent.arm.values, "label noise")]
    kinds += [(descent.isel(arm=-1), f"GD, {descent.arm.values[-1]}")]
    for (one, label), colour, marker in zip(kinds, (SMALL, LARGE, LABELS, GD), "osD^", strict=False):
        formula, measured = one.decay_formula.values, one.decay.values
        ax.plot(formula, measured, marker, color=colour, mfc="none", linestyle="none", label=label)
        ratio = _centre(one.decay / one.decay_formula)
        describe(ax, f"{label}: K over the formula {ratio:.3g} (geometric mean of {measured.size})")
    formulas = np.concatenate([one.decay_formula.values for one, _ in kinds])
    ends = np.array([0.6 * formulas.min(), 1.6 * formulas.max()])
    ax.plot(ends, ends, color=GUIDE, linewidth=1, label="equal")
    ax.fill_between(
        ends, ends / np.sqrt(2), ends * np.sqrt(2), color=SHADE, alpha=0.15, linewidth=0, label=r"factor $\sqrt{2}$"
    )
    ax.set(xscale="log", yscale="log", xlim=ends, xlabel=r"formula $2\gamma D\int L$ (mean over features)")
    ax.set_ylabel(r"measured $K=\log(\alpha/\alpha_\mathrm{eff})$")
    for axis in (ax.xaxis, ax.yaxis):
        _plain_logs(axis, (1, 3))
    ax.legend(loc="lower right", fontsize=9)
    return figure


def draw_run_to_run(flow: xr.Dataset, sgd: xr.Dataset, taus: Mapping[str, float]) -> Figure:
    """Loss integral against test loss of the runs on single data sets, each over its mean there: the flow beside SGD."""
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.9), sharey=True)
    for ax, one, name in zip(axes, (flow, sgd), ("stochastic gradient flow", "SGD"), strict=True):
        for seed, colour, marker in zip(sgd.seed.values, PALETTE, "os^", strict=False):
            integral, test = one.loss_integral.sel(seed=seed), one.test.sel(seed=seed)
            ax.plot(
                integral / integral.mean(), test / _centre(test), marker, color=colour, mfc="none", linestyle="none",
                label=f"data set {seed}",
            )  # fmt: skip
        ax.set(yscale="log", xlabel=r"$\int L\,dt$ over its mean on the data")
        ax.set_title(f"{name}, mean $\\tau$ = {taus[name]:.2f}")
        describe(ax, f"mean Kendall's tau {taus[name]:.2f}")
    axes[0].set_ylabel("test loss over its mean")
    _plain_logs(axes[0].yaxis, (1, 1.5, 2, 3, 5, 7))
    axes[1].legend(fontsize=9)
    return figure


def draw_alphas(integrals: xr.DataArray, flow: xr.DataArray, decay: xr.DataArray, zeta: xr.DataArray) -> Figure:
    """Loss integral of SGD and of the flow (phi/2), and SGD's decay with the slope zeta, against ln(1/alpha)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.7))
    logs = -np.log(integrals.alpha.values)
    for samples, label, colour, marker in ((integrals, "SGD", SMALL, "o"), (flow, r"flow: $\phi_\alpha/2$", GD, "s")):
        band(left, logs, samples.transpose("seed", "alpha"), label, color=colour, marker=marker)
    band(right, logs, decay.transpose("seed", "alpha"), "SGD", color=SMALL, marker="o")
    middle, slope = float(decay.mean("seed")[0]), float(zeta.mean())
    right.plot(logs, middle + slope * (logs - logs[0]), "--", color=GUIDE, label=r"slope $\zeta=\gamma\|\beta\|_1D/2$")
    describe(right, f"predicted slope {slope:.3g}")
    left.set(xlabel=r"$\ln(1/\alpha)$", ylabel=r"$\int L\,dt$")
    right.set(xlabel=r"$\ln(1/\alpha)$", ylabel=r"$K=\log(\alpha/\alpha_\mathrm{eff})$")
    for ax in (left, right):
        ax.legend()
    return figure


def draw_label_noise(runs: xr.Dataset, switched_off: int) -> Figure:
    """Test loss of SGD with and without label noise, and the step at which it ends."""
    figure, ax = plt.subplots(figsize=(7.5, 3.9))
    arms = ((runs.arm.values[0], "no label noise", SMALL, "-"), ("label noise", "label noise", LABELS, "--"))
    for arm, label, colour, dash in arms:
        curve = runs.curve.sel(arm=arm, step=slice(1, None)).transpose("seed", "step")
        band(ax, None, curve, label, average="median", log=True, color=colour, linestyle=dash)
    ax.axvline(switched_off, color=GUIDE, linestyle=":", label="label noise off")
    describe(ax, f"label noise off at step {switched_off}")
    ax.set(xscale="log", xlabel="steps", ylabel=_TEST)
    ax.legend()
    return figure


def draw_solutions(truth: np.ndarray, solutions: Mapping[str, np.ndarray], support: int) -> Figure:
    """One data set: the entries on the support, and the sizes of the others in decreasing order."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8), width_ratios=(1, 1.2))
    width = 0.8 / len(solutions)
    places = np.arange(1, support + 1)
    looks = zip(solutions.items(), (GD, SMALL, LARGE, LABELS), ("-", "--", "-.", ":"), strict=False)
    for index, ((name, beta), colour, dash) in enumerate(looks):
        left.bar(places + (index - (len(solutions) - 1) / 2) * width, beta[:support], width, color=colour, label=name)
        off = np.sort(np.abs(beta[support:]))[::-1]
        right.plot(np.arange(1, off.size + 1), np.maximum(off, 1e-16), dash, color=colour, label=name)
        describe(right, f"{name}: l1 norm off the support {off.sum():.3g}")
    left.hlines(truth[:support], places - 0.45, places + 0.45, color="k", linewidth=1.5, label=r"truth $\beta^*$")
    left.set(xlabel="feature on the support", ylabel=r"$\beta_j$", xticks=places)
    right.set(yscale="log", ylim=(1e-7, None), xlabel="rank among the other features", ylabel=r"$|\beta_j|$, truth 0")
    right.legend(fontsize=9)
    _truth_legend(left)
    return figure


def _plain_logs(axis: Axis, places: tuple[float, ...]) -> None:
    axis.set_major_locator(LogLocator(subs=places))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _truth_legend(ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    kept: Sequence[int] = [index for index, label in enumerate(labels) if label.startswith("truth")]
    ax.legend([handles[index] for index in kept], [labels[index] for index in kept], fontsize=9)
