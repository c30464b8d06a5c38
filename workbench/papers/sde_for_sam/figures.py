"""The notebook's figures, from the arrays that the claims measure."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import binomtest

from workbench.explorers.scene import decades
from workbench.figures import PALETTE, describe, interval, loglog, sweep_bands
from workbench.figures.style import GUIDE
from workbench.papers.sde_for_sam.saddles import basin_map, basin_radius
from workbench.papers.sde_for_sam.stationary import discrete_variance, effective_radius, variance_ratios
from workbench.papers.sde_for_sam.study import NAMES

MARKS = {"sgd": "o", "usam": "s", "dnsam": "^", "sam": "D"}
_COLOURS = {"sgd": PALETTE[7], "usam": PALETTE[0], "dnsam": PALETTE[1], "sam": PALETTE[2]}


def draw_one_step(errors: xr.Dataset) -> Figure:
    """Relative errors of one step's mean and covariance against rho, every start a line."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
    for ax, name in zip(axes, ("drift", "noise"), strict=True):
        part = errors[name]
        for kind in part.kind.values:
            lines = part.sel(kind=kind).transpose("rho", "seed")
            ax.plot(part.rho, lines, MARKS[kind] + "-", color=_COLOURS[kind], alpha=0.8, markersize=4)
            ax.plot([], [], MARKS[kind] + "-", color=_COLOURS[kind], label=NAMES[kind])
        low = float(part.min())
        ends = part.rho.values[[0, -1]]
        ax.plot(ends, 0.4 * low * (ends / ends[0]) ** 2, ":", color=GUIDE, label=r"$\propto\rho^2$")
        ax.set(xscale="log", yscale="log", xlabel=r"radius $\rho$", ylabel="relative error")
        ax.set_title("mean of a step" if name == "drift" else "covariance of a step")
        slope = np.log10(part.isel(rho=1) / part.isel(rho=0)) / np.log10(float(part.rho[1] / part.rho[0]))
        describe(ax, f"slopes at the smallest radii {float(slope.min()):.3f} to {float(slope.max()):.3f}")
    axes[0].legend()
    return figure


def draw_weak_errors(parts: Mapping[str, xr.DataArray]) -> Figure:
    """Weak errors against the step size, one panel per setting."""
    figure, axes = plt.subplots(1, len(parts), figsize=(2.9 * len(parts), 3.7))
    for ax, (title, errors) in zip(np.atleast_1d(axes), parts.items(), strict=True):
        shown = errors.assign_coords(sde=[_sde_name(name) for name in errors.sde.values])
        shown.sde.attrs["long_name"] = "SDE"
        loglog(ax, shown, "eta", "sde", over=None, guides={r"$\eta$": 1, r"$\sqrt{\eta}$": 0.5})
        ax.set_title(title, fontsize=11)
        ax.set_ylim(decades(float(errors.min()), float(errors.max())))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.legend(fontsize=8, title=None, loc="lower right")
    return figure


def _sde_name(name: str) -> str:
    return {"own": "own", "drift-only": "drift only", "sgd": "SGD's"}[name]


def draw_variances(
    measured: Mapping[str, xr.DataArray], *, curvature: float, rho: float, sigma: float, eta: float
) -> Figure:
    """Stationary variance over SGD's against rho_eff l: curves of the two SDEs, chains and formulas of every dimension."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    sgd, points = discrete_variance("sgd", curvature, 0.0, sigma, eta), []
    for kind, found in measured.items():
        for d in found["d"].values:
            at = effective_radius(kind, rho, sigma, int(d)) * curvature  # type: ignore[arg-type]
            centre, low, high = (float(part) for part in interval(found.sel(d=d).values / sgd))
            points.append((kind, int(d), at, centre, low, high))
    stretch = np.linspace(0, 1.15 * max(point[2] for point in points), 100)
    for name, style, label in (("own", "-", "SDE"), ("drift-only", "--", "SDE without noise correction")):
        ax.plot(stretch, variance_ratios(stretch.tolist()).sel(sde=name), style, color=GUIDE, label=label)
    for kind, d, at, centre, low, high in points:
        label = NAMES[kind] if d == points[0][1] else None
        # USAM's dimensions share one place: they are set apart a little.
        place = at + (0.03 * (d - 4) / 6 if kind == "usam" else 0)
        ax.errorbar(
            place, centre, yerr=[[centre - low], [high - centre]], fmt=MARKS[kind], color=_COLOURS[kind], label=label,
            capsize=3,
        )  # fmt: skip
        formula = discrete_variance(kind, curvature, rho, sigma, eta, d) / sgd  # type: ignore[arg-type]
        ax.plot(place, formula, "_", color="black", markersize=16, label="formula" if at == points[-1][2] else None)
        if kind == "sam":
            ax.annotate(f"$d={d}$", (at, centre), xytext=(8, -12), textcoords="offset points", fontsize=10)
        describe(ax, f"{NAMES[kind]}, d = {d}: {centre:.3g} [{low:.3g}, {high:.3g}] at {at:.3g}, formula {formula:.3g}")
    ax.axhline(1, color=GUIDE, linewidth=1, linestyle=":")
    ax.set(xlabel=r"$\rho_{\rm eff}\,\lambda$", ylabel="stationary variance over SGD's")
    ax.legend(loc="upper left")
    return figure


def draw_tracking(errors: Mapping[str, xr.DataArray]) -> Figure:
    """Error of the own SDE against that of SGD's, a dot per seed: one panel per problem."""
    figure, axes = plt.subplots(1, len(errors), figsize=(4.6 * len(errors), 3.9), squeeze=False)
    for ax, (name, found) in zip(axes[0], errors.items(), strict=True):
        for kind in found.kind.values:
            for k, rho in enumerate(found.rho.values):
                own, sgd = (found.sel(sde=sde, kind=kind, rho=rho) for sde in ("own", "sgd"))
                filled = {} if k == 0 else {"markerfacecolor": "none"}
                ax.plot(sgd, own, MARKS[kind], color=_COLOURS[kind], markersize=5, **filled)
                centre, low, high = (float(part) for part in interval(own.values / sgd.values, "geometric"))
                describe(ax, f"{NAMES[kind]}, rho = {rho:g}: own over SGD's {centre:.2g} [{low:.2g}, {high:.2g}]")
            ax.plot([], [], MARKS[kind], color=_COLOURS[kind], label=NAMES[kind])
        ends = np.array([float(found.sel(sde="sgd").min()), float(found.sel(sde="sgd").max())])
        ax.plot(ends, ends, color=GUIDE, linewidth=1.2, label="both equally far")
        radii = found.rho.values
        title = f"{name.replace('_', ' ')} (filled: $\\rho={radii[0]:g}$" + (
            f", open: {', '.join(f'{value:g}' for value in radii[1:])})" if len(radii) > 1 else ")"
        )
        ax.set_title(title, fontsize=11)
        ax.set(xscale="log", yscale="log", xlabel="error of SGD's SDE", ylabel="error of the own SDE")
        ax.legend(loc="upper left", fontsize=9)
    return figure


def draw_escape(shares: Mapping[int, xr.DataArray], control: xr.DataArray, control_d: int) -> Figure:
    """Trapped share of chains against rho/rho_c, with exact intervals; USAM at the same radii."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    for k, (d, left) in enumerate(shares.items()):
        _shares(ax, ~left, f"SAM, $d={d}$", color=PALETTE[k], marker="os^Dv"[k % 5], shift=(k - 1) * 0.012)
    _shares(ax, ~control, f"USAM, same radii, $d={control_d}$", color=GUIDE, marker="x", shift=0, linestyle=":")
    ax.axvline(1, color=GUIDE, linewidth=1, linestyle="--")
    ax.axhline(0.5, color=GUIDE, linewidth=1, linestyle=":")
    ax.set(xlabel=r"$\rho/\rho_c$", ylabel="share of chains still at the saddle", ylim=(-0.05, 1.05))
    ax.legend(fontsize=9)
    return figure


def _shares(ax: Axes, trapped: xr.DataArray, label: str, *, shift: float, **style) -> None:
    count, n = trapped.sum("seed").values, trapped.sizes["seed"]
    ends = [binomtest(int(k), n).proportion_ci(method="exact") for k in count]
    at = trapped.multiple.values * (1 + shift)
    share = count / n
    below = [value - end.low for value, end in zip(share, ends, strict=True)]
    above = [end.high - value for value, end in zip(share, ends, strict=True)]
    ax.errorbar(at, share, yerr=[below, above], label=label, capsize=2, linewidth=1.4, **style)
    words = ", ".join(f"{value:g}: {k} of {n}" for value, k in zip(trapped.multiple.values, count, strict=True))
    describe(ax, f"{label}, trapped at {words}")


def draw_basin(eigenvalues: tuple[float, float], rho: float, eta: float) -> Figure:
    """Where noiseless SAM goes from a plane of starts: |Hx| at the end over that at the start, and the ball of the lemma."""
    figure, ax = plt.subplots(figsize=(6.2, 4.4))
    reach = 1.8 * basin_radius(eigenvalues, rho) / min(abs(value) for value in eigenvalues)
    found = basin_map(eigenvalues, rho, eta, reach=reach, cells=61, steps=round(10 / eta))
    levels = np.clip(np.log10(np.maximum(found, 1e-300)), -2, 2)
    mesh = ax.pcolormesh(found.x1, found.x2, levels, cmap="RdBu_r", vmin=-2, vmax=2, shading="nearest", rasterized=True)
    figure.colorbar(mesh, ax=ax, label=r"$\log_{10}\|Hx_{10/\eta}\|/\|Hx_0\|$")
    angle = np.linspace(0, 2 * np.pi, 200)
    ball = basin_radius(eigenvalues, rho)
    ax.plot(
        ball / abs(eigenvalues[0]) * np.cos(angle), ball / abs(eigenvalues[1]) * np.sin(angle), "k--", linewidth=1.6
    )
    ax.annotate(
        r"$\|Hx\|=\rho\,\min_{\lambda<0}|\lambda|$",
        (0, ball / abs(eigenvalues[1])),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )
    ax.set(xlabel=f"$x_1$ ($\\lambda={eigenvalues[0]:g}$)", ylabel=f"$x_2$ ($\\lambda={eigenvalues[1]:g}$)")
    ax.grid(False)
    inside = np.hypot(eigenvalues[0] * found.x1, eigenvalues[1] * found.x2) < 0.97 * ball
    share = float((found.where(inside) < 1).sum() / inside.sum())
    describe(ax, f"of the starts within the ball {share:.0%} end nearer to the saddle")
    return figure


def draw_embedded(losses: xr.DataArray) -> Figure:
    """f over f_min against the step: mean over chains with its interval, one line an arm."""
    figure, ax = plt.subplots(figsize=(7.5, 3.9))
    shown = losses.where(np.isfinite(losses)).assign_attrs(long_name=r"$f/f_{\min}$, mean over chains")
    shown.arm.attrs["long_name"] = "method, radius"
    sweep_bands(ax, shown, "step", "arm")
    ax.axhline(0.5, color=GUIDE, linewidth=1, linestyle=":")
    ax.set(ylim=(-0.1, 1.08))
    ax.legend(fontsize=9, ncols=2)
    return figure
