"""The figures of the notebook, drawn from what the studies return."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

from workbench import figures
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.flat_minima_sco.bounds import line_saer
from workbench.papers.flat_minima_sco.chain_constants import ChainConstants
from workbench.papers.flat_minima_sco.explorer import draw
from workbench.papers.flat_minima_sco.minima import corner_points, event_probabilities, population_risk
from workbench.papers.flat_minima_sco.unseen_coordinates import largest_shown, unseen_probability
from workbench.papers.flat_minima_sco.valley_truths import suffix_risk, valley_saer

MARKERS = "os^Dv"
STYLES = ("-", "--", "-.", ":")


def draw_events(events: xr.Dataset, n: int) -> Figure:
    """Event probabilities against n, formula and drawn frequencies; against the number of coordinates at fixed n."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    every = event_probabilities(range(2, 17))
    frequency = events.happened.mean("sample")
    error = (events.probability * (1 - events.probability) / events.sizes["sample"]) ** 0.5
    for colour, marker, event in zip(PALETTE, MARKERS, events.event.values, strict=False):
        left.plot(every.n, every.sel(event=event), color=colour, label=f"{event}: formula")
        drawn = frequency.sel(event=event)
        left.errorbar(
            events.n, drawn, error.sel(event=event), fmt=marker, color=colour, markerfacecolor="white", label="drawn"
        )
    for bound in (1 - 1 / math.e, 1 / math.e):
        left.axhline(bound, color=GUIDE, linestyle=":", linewidth=1)
    left.set(xlabel="number of samples $n$", ylabel="probability", ylim=(0.3, 0.95), title="$2^n$ coordinates")
    left.legend(fontsize=8, loc="upper right")
    m = np.unique(np.geomspace(1, 2.0 ** (n + 4), 60).round())
    right.semilogx(m, [unseen_probability(n, coordinates=int(k)) for k in m], base=2, color=PALETTE[0])
    right.axvline(2.0**n, color=GUIDE, linestyle="--")
    right.set(xlabel="number of coordinates $m$ (dashed: $2^n$)", ylabel="probability of an unseen one")
    right.set_title(f"$n={n}$ samples, formula")
    return figure


def draw_minima(seed: int, n: int, rho: float = 0.25) -> Figure:
    """F_S and F in the plane of w(I), w(d) with the two minima; F_S^r of both against r."""
    problem, e_I, _ = corner_points(seed, rho, min(n, 8))
    e_d = (torch.arange(len(e_I)) == len(e_I) - 1).double()
    span = torch.linspace(-1.2, 1.2, 121, dtype=torch.float64)

    def risks(x, y):
        return problem.loss(x * e_I + y * e_d), population_risk(problem, x * e_I + y * e_d)

    plane = torch.func.vmap(torch.func.vmap(risks))(*torch.meshgrid(span, span, indexing="xy"))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7))
    for ax, value, name in zip(axes, plane, ("empirical risk $F_S$", "population risk $F$"), strict=False):
        drawn = ax.contourf(span, span, value, levels=np.linspace(0, 0.46, 24), cmap="viridis", extend="max")
        ax.contour(span, span, value, levels=[1e-9], colors="white", linestyles="--")
        ax.plot(1, 0, "o", color=PALETTE[3], markeredgecolor="white", markersize=10, label="$e_I$ (flat)")
        ax.plot(0, rho, "s", color=PALETTE[1], markeredgecolor="white", markersize=9, label=r"$\rho e_d$ (sharp)")
        ax.set(xlabel="$w(I)$", ylabel="$w(d)$", title=name, aspect="equal")
        ax.grid(False)
    # pyrefly: ignore[unbound-name]
    figure.colorbar(drawn, ax=axes[:2], label="risk", ticks=[0, 0.1, 0.2, 0.3, 0.4])
    axes[0].legend(loc="lower left", fontsize=9)
    r = torch.linspace(0, 1, 101, dtype=torch.float64)
    points = ((e_I, "at $e_I$", "-", PALETTE[3]), (rho * e_d, r"at $\rho e_d$", "--", PALETTE[1]))
    for w, label, style, colour in points:
        values = torch.stack([problem.sharpness_aware_risk(w, x) for x in r])
        axes[2].plot(r, values, style, color=colour, label=label)
    axes[2].axvline(rho, color=GUIDE, linestyle=":", label=r"$r=\rho$")
    axes[2].set(xlabel="radius $r$", ylabel="$F_S^r$", title="sharpness-aware risk")
    axes[2].legend()
    return figure


def draw_valley(valley: Mapping[int, xr.Dataset], c: float, eta: float, seed: int) -> Figure:
    """Least risk over suffixes and F_S^r against T; risk of every suffix with the closed form, gradient descent's zero."""
    sizes = np.array(sorted(valley))
    rhos = valley[sizes[0]].rho.values
    guide = np.geomspace(sizes[0], sizes[-1], 50)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9))
    saer = [float(valley[T].saer.sel(seed=seed).isel(rho=0, tau=0)) for T in sizes]
    left.loglog(sizes, saer, "ks", label="sharpness-aware risk $F_S^r$")
    left.loglog(
        guide, [valley_saer(c, T, eta) for T in guide], "k:", linewidth=1.2, label=f"{c**2 / (2 * eta**2):.3g}/T"
    )
    for colour, rho in zip(PALETTE, rhos, strict=False):
        risks = [float(valley[T].risk.sel(seed=seed, rho=rho).min()) for T in sizes]
        left.loglog(sizes, risks, "o-", color=colour, label=rf"population risk, $\rho={rho:g}$")
    left.set(xlabel="number of iterates $T$", ylabel="risk", title="least population risk over all suffixes")
    left.set_xticks(sizes, sizes)
    left.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    left.minorticks_off()
    left.legend(fontsize=8, loc="upper right")
    rho = rhos[min(1, len(rhos) - 1)]
    for colour, marker, T in zip(PALETTE, MARKERS, sizes, strict=False):
        taus, every = np.arange(1, T + 1), slice(None, None, max(1, T // 16))
        right.plot(taus / T, suffix_risk(rho, c, T, taus), color=colour, linewidth=1)
        right.plot(
            taus[every] / T, valley[T].risk.sel(seed=seed, rho=rho)[every], marker, color=colour, label=f"T = {T}"
        )
    right.axhline(0, color=GUIDE, linestyle="--", linewidth=1, label="gradient descent, SAM")
    right.set(xlabel=r"suffix starts at $\tau/T$", ylabel="population risk", title=rf"every suffix, $\rho={rho:g}$")
    right.legend(title="measured (lines: closed form)", title_fontsize=9, fontsize=8)
    return figure


def draw_phase(plane: xr.Dataset) -> Figure:
    """Simulated risk of the full average over (c, rho); cells of risk 0 are white."""
    figure, ax = plt.subplots(figsize=(6.6, 4.2))
    figures.phase_diagram(
        ax, "c", "rho", plane.risk, label="population risk of the full average", diverged=plane.diverged,
        boundary={r"$\rho=c/\sqrt{3}$ (exact)": lambda c: c / math.sqrt(3), r"$\rho=c/3$ (theorem)": lambda c: c / 3},
        xlabel=r"progress $c=\eta(r-\rho)\sqrt{T}$", ylabel=r"flatness $\rho$", vmin=1e-12,
        cmap=plt.get_cmap("viridis").with_extremes(under="white"),
    )  # fmt: skip
    return figure


def draw_line(lines: xr.Dataset, start: float = 0.2, r: float = 0.5, eta: float = 0.25) -> Figure:
    """Iterates and F^r of GD, SAM and SA-GD on half a parabola, with the bound of Theorem 2 on the average."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.7))
    one = lines.w.sel(start=start, r=r, eta=eta)
    t = np.arange(1, one.sizes["t"] + 1)
    left.axhspan(-1.1 * r, 0, color=PALETTE[2], alpha=0.15, linewidth=0)
    left.text(39, -0.3 * r, "flat: $f=0$", ha="right", va="center", fontsize=10)
    for colour, style, name in zip(PALETTE, STYLES, one.rule.values, strict=False):
        w = one.sel(rule=name).values
        left.plot(t, w, style, color=colour, label=name)
        right.semilogy(t, line_saer(w, r), style, color=colour, label=name)
    right.axhline(0.5 * r**2, color=GUIDE, linestyle=":", label=r"$r^2/2$")
    right.semilogy(t, (start + 0.5) ** 2 / (eta * t), color=GUIDE, linewidth=1, label="bound of Theorem 2, $T=t$")
    left.set(xlabel="iterate $t$", ylabel="$w_t$", xlim=(0, 40), ylim=(-1.1 * r, 1.1 * start), title="iterates")
    right.set(xlabel="iterate $t$", ylabel="$F^r(w_t)$", ylim=(1e-7, 20), title="sharpness-aware risk")
    right.legend(loc="lower right", fontsize=8)
    return figure


def draw_chain(tail: np.ndarray, constants: Mapping[int, ChainConstants], chains: Mapping[int, xr.Dataset]) -> Figure:
    """How SAM advances along the chain; least population risk against T with guarantee, closed form and limit."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
    T, sizes = len(tail), np.array(sorted(chains))
    edges = (0.5, T + 0.5, 2.5, T + 0.5)
    image = left.imshow(tail.T, origin="lower", aspect="auto", extent=edges, vmin=0, vmax=1.05)
    left.set(xlabel="iterate $t$", ylabel="position $j$ in the unseen block", title=f"the chain advances, T = {T}")
    left.grid(False)
    figure.colorbar(image, ax=left, label=r"$-w_t^{(I)}(j)\,/\,\eta r$")
    one = constants[sizes[0]]
    progress = (one.step_size * one.rho) ** 2 * one.T
    right.loglog(sizes, [chains[T].least.mean() for T in sizes], "o", color=PALETTE[0], label="measured, best suffix")
    right.loglog(
        sizes, [constants[T].suffix_risk().min() for T in sizes], color=PALETTE[0], linewidth=1, label="closed form"
    )
    right.loglog(
        sizes, [constants[T].guaranteed_risk for T in sizes], "--", color=PALETTE[1], label=r"$\eta^2r^2T/128$"
    )
    right.axhline(progress / 12, color=GUIDE, linestyle=":", label=r"limit $\eta^2r^2T/12$, $\delta\to0$")
    right.set(xlabel="number of iterates $T$", ylabel="population risk", ylim=(progress / 256, progress / 6))
    right.set_xticks(sizes, sizes)
    right.xaxis.set_minor_locator(plt.NullLocator())
    right.set_title(rf"SAM, $\eta r\sqrt{{T}}={math.sqrt(progress):.3g}$")
    right.legend(fontsize=8, loc="center right")
    return figure


def draw_slip(found: xr.Dataset) -> Figure:
    """The criterion (eta/max(1, eta)) M(S) of every sample, by case; filled where all gates held with the printed weight."""
    figure, ax = plt.subplots(figsize=(8.6, 4))
    width = np.linspace(-0.28, 0.28, found.sizes["seed"])
    kinds = ((True, "o", PALETTE[0], "every gate holds"), (False, "x", PALETTE[1], "a gate fails"))
    for holds, marker, colour, label in kinds:
        where = found.printed.values.astype(bool) == holds
        case, seed = np.nonzero(where)
        ax.plot(case + width[seed], found.factor.values[where], marker, color=colour, markersize=5, label=label)
    ax.axhline(1, color=GUIDE, linestyle="--", linewidth=1)
    ax.set_yscale("log")
    ax.set_yticks([0.2, 0.5, 1, 2, 4], ["0.2", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    names = [
        f"n = {n}\n" + (r"$\eta=1/24$" if eta < 0.1 else rf"$\eta={eta:g}$")
        for n, eta in zip(found.n.values, found.eta.values, strict=True)
    ]
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="case (one point per sample)", ylabel=r"$(\eta/\max(1,\eta))\,M(S)$", title="printed weight")
    ax.legend(fontsize=9)
    return figure


def draw_beyond(by_oracle: xr.DataArray) -> Figure:
    """The gap between flat and sharp minima by dimension; SA-GD's risk by inner maximiser."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.7))
    sizes = np.arange(2, 61)
    counts = {r"$m=2^n$": lambda k: 2.0**k, r"$m=n^4$": lambda k: k**4.0, r"$m=n^2$": lambda k: k**2.0, r"$m=n$": float}
    for colour, style, (name, count) in zip(PALETTE, STYLES, counts.items(), strict=False):
        gap = [0.5 * largest_shown(int(k), count(int(k))) for k in sizes]
        left.loglog(sizes, gap, style, color=colour, label=name)
    left.set(xlabel="number of samples $n$", ylabel=r"gap $\frac{1}{2}p^*$ at $\rho=0$", title="gap by dimension")
    left.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    left.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
    left.minorticks_off()
    left.legend()
    for colour, marker, T in zip(PALETTE, MARKERS, by_oracle["T"].values, strict=False):
        for index, name in enumerate(by_oracle.oracle.values):
            values = by_oracle.sel(oracle=name, T=T)
            places = np.full(values.size, index + (0.12 if marker == "s" else -0.12))
            right.plot(places, values, marker, color=colour, alpha=0.7, label=None if index else f"T = {T}")
    right.set_xticks(range(by_oracle.sizes["oracle"]), by_oracle.oracle.values)
    right.set(xlabel="inner maximiser", ylabel="population risk", title=r"SA-GD by oracle, $\rho=0.1$")
    right.legend()
    return figure


def draw_state(rho: float, c: float, T: int, share: float) -> tuple[Figure, str]:
    """The explorer's panels at one point, and their read-out."""
    figure = plt.figure(figsize=(9, 3.8))
    return figure, draw(figure, rho=rho, c=c, T=T, share=share)
