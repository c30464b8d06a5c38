"""The paper's figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from workbench import figures, problems
from workbench.figures.style import GUIDE, PALETTE
from workbench.optimizers import guarantees
from workbench.papers.normalization_in_sam.explorer import compute
from workbench.papers.normalization_in_sam.training import MINIMUM


def draw_planes(usam: xr.Dataset, sam: xr.Dataset) -> Figure:
    """Final losses of USAM and SAM over (u, v), one quadratic, and the curve u(1 + v) = 2."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for ax, (name, result) in zip(axes, {"USAM": usam, "SAM": sam}.items(), strict=True):
        figures.phase_diagram(
            ax, "u", "v", np.log10(result.loss.clip(1e-12, 1e12)), diverged=result.diverged,
            boundary={"$u(1+v)=2$": lambda u: 2 / max(u, 1e-6) - 1}, vmin=-12, vmax=12, cmap="PuOr_r",
            label=r"$\log_{10}$ final loss", xlabel=r"$u=\eta\beta$", ylabel=r"$v=\rho\beta$",
        )  # fmt: skip
        ax.set_title(name)
    return figure


def draw_steady(steady: xr.DataArray, rho: float) -> Figure:
    """SAM's steady loss in one dimension, the 2-cycle's, and the neighbourhoods of the two bounds."""
    u = np.linspace(0.02, 1.98, 300)
    limit_a, limit_pl = u * rho**2 / (2 * (2 - u)), rho**2 * (1 + (1 - u) ** 2) / (2 - u) ** 2
    figure, ax = plt.subplots()
    ax.plot(u, 0.5 * guarantees.sam_cycle_radius(u, rho, 1.0) ** 2, color="black", label="2-cycle, exact")
    ax.plot(u[u <= 1], limit_a[u <= 1], color=PALETTE[0], label="bound (a)")
    ax.plot(u[u >= 1], limit_a[u >= 1], color=PALETTE[0], linestyle="--", label="bound (a) beyond $u=1$")
    ax.plot(u, limit_pl, color=PALETTE[2], linestyle="-.", label="bound (a$'$)")
    ax.plot(steady.u, steady, "o", color=PALETTE[1], markersize=7, label="measured")
    ax.set(yscale="log", xlabel=r"$u=\eta\beta$", ylabel=rf"steady loss, $\rho={rho:g}$")
    ax.minorticks_off()
    ax.legend()
    return figure


def draw_stationarity(ratio: xr.DataArray) -> Figure:
    """Largest mean squared gradient over its bound, by radius and u."""
    figure, ax = plt.subplots(figsize=(6.5, 3.4))
    figures.heatmap(
        ax, ratio.max(["start", "T"]), "rho", "u", vmin=0, vmax=1, label="mean squared gradient / bound",
        xlabel=r"$\rho$", ylabel=r"$u=\eta\beta$",
    )  # fmt: skip
    return figure


def draw_valley(loss: str, C: float) -> Figure:
    """Paths of the three rules on l(xy) from one start, and y^2 against the step."""
    shown, model = compute(step_size=0.1, rho=0.2, C=C, loss=loss, steps=1000), problems.ProductLoss(loss)  # type: ignore[arg-type]
    figure, axes = plt.subplots(1, 4, figsize=(10, 4), width_ratios=(1, 1, 1, 2.4))
    reach, top = 1.1 * float(np.nanmax(abs(shown.paths["SAM"][:, 0]))), 1.08 * float(shown.paths["SAM"][0, 1])
    for k, (ax, (name, path)) in enumerate(zip(axes[:3], shown.paths.items(), strict=True)):
        figures.trajectory(ax, model.loss, [path[:500]], extent=(-reach, reach, -0.3, top), levels=8, xlabel="$x$")
        ax.lines[0].set(color=PALETTE[k], linewidth=0.7, marker="")
        ax.lines[1].set(markeredgecolor=PALETTE[k])
        ax.lines[2].set(color=PALETTE[k])
        ax.axhline(np.sqrt(shown.level), color="black", linestyle="--", linewidth=1)
        ax.set(title=name, ylabel="$y$" if k == 0 else "")
        ax.tick_params(labelleft=k == 0)
        axes[3].plot(path[:, 1] ** 2, "--" if name == "USAM" else "-", label=name)
    steps = np.arange(1001)
    axes[3].plot(steps, shown.imbalance * np.exp(-shown.rate * steps), "k:", label=r"rate $2\eta\rho^2$")
    axes[3].axhline(shown.level, color="black", linestyle="--", linewidth=1, label="$y_*^2$")
    axes[3].set(yscale="log", xlabel="step", ylabel="$y^2$", ylim=(1e-3, 2 * shown.imbalance))
    axes[3].legend()
    return figure


def draw_traps(found: xr.Dataset) -> Figure:
    """Where USAM stops from C = 16 over step size and radius, and cuts through it over the radius."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    touch = (2 / 16 / found.eta - 1) / 16
    figures.phase_diagram(
        left, "eta", "rho", found.y2, log="xy", boundary={"$y_*^2=C$": (found.eta, touch.clip(1e-9))},
        diverged=found.diverged, vmin=0, vmax=16, label="$y^2$ at the end", xlabel=r"step size $\eta$", ylabel=r"$\rho$",
    )  # fmt: skip
    left.set_ylim(0.01, 1)
    rho = np.geomspace(1e-2, 1, 200)
    for colour, column in zip(PALETTE, np.linspace(0.75, 0.98, 3), strict=False):
        eta = float(found.eta[int(column * (found.eta.size - 1))])
        # pyrefly: ignore[bad-argument-type]
        right.plot(rho, np.minimum(problems.trapped_level(eta, rho), 16), color=colour, label=rf"$\eta={eta:.3g}$")
        right.plot(found.rho, found.y2.sel(eta=eta), "o", color=colour, markersize=4)
    right.set(xscale="log", xlabel=r"$\rho$", ylabel="sharpness $y^2$ at USAM's end")
    right.minorticks_off()
    right.legend(title="lines: $\\min(16, y_*^2)$")
    return figure


def draw_displacements(found: xr.Dataset) -> Figure:
    """Displacement of the three rules against sqrt(L_0)."""
    figure, ax = plt.subplots(figsize=(6.5, 4))
    for name, marker, size in zip(found.arm.values, "osD", (9, 5, 6), strict=True):
        one = found.sel(arm=name)
        ax.loglog(one.root, one.moved, marker=marker, markersize=size, label=name)
    ax.set(xlabel=r"$\sqrt{L(w_0)}$", ylabel="displacement")
    ax.minorticks_off()
    ax.legend()
    return figure


def draw_sensing(found: xr.Dataset) -> Figure:
    """Training loss and test error of every arm against the step."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    labels = {"train_loss": "training loss", "test_error": r"test error $\|UU^\top-X^*\|_F^2$"}
    for ax, (quantity, label) in zip(axes, labels.items(), strict=True):
        for name, style in zip(found.arm.values, ("-", "--", "-", ":"), strict=False):
            samples = found[quantity].sel(arm=name).clip(1e-32)
            lost = found.diverged.sel(arm=name)
            figures.band(
                ax, None, samples, str(name), log=True, average="geometric", diverged=lost, linestyle=style,
                xlabel="step", ylabel=label,
            )  # fmt: skip
        ax.axvline(MINIMUM, color=GUIDE, linewidth=1, linestyle=":")
    axes[1].legend()
    axes[0].minorticks_off()
    return figure


def draw_coding(found: xr.Dataset) -> Figure:
    """Shared bias of every arm against the step."""
    figure, ax = plt.subplots(figsize=(6.5, 3.8))
    figures.sweep_bands(ax, found.bias, x="step", hue="arm", diverged=found.diverged)
    return figure


def draw_sweep(found: xr.Dataset) -> Figure:
    """Mean test accuracy over radius and step size, USAM and SAM."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for ax, name in zip(axes, found.arm.values, strict=True):
        one = found.sel(arm=name)
        figures.heatmap(
            ax, one.accuracy.mean("seed"), "rho", "eta", diverged=one.diverged.mean("seed") > 0.5, vmin=0, vmax=1,
            label="test accuracy", xlabel=r"$\rho$", ylabel=r"step size $\eta$",
        )  # fmt: skip
        ax.set_title(str(name))
    return figure
