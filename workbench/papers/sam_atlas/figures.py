"""The figures: cycles, saddles, and the trial."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench import optimizers as o
from workbench.figures.style import GUIDE, PALETTE, SHADE
from workbench.papers.sam_atlas.quadratics import CYCLING
from workbench.papers.sam_atlas.study import gain, interval

SHOWN = {
    "sam": "SAM, GSAM, XSAM, VaSSO, F-SAM, m-SAM",
    "sam+heavy_ball": "SAM or Momentum-SAM, heavy ball .5",
    "sam+nesterov": "SAM, Nesterov .5",
    "wsam": "WSAM, γ = .6",
    "cr_sam": "CR-SAM, δ = .1",
    "gam": "GAM, κ = .5",
    "fisher_sam": "Fisher SAM, η = .7",
    "asam": "ASAM, η = .3",
    "lookbehind_sam": "Lookbehind, k = 2, η = .5",
}
_STYLES = ("-", "--", ":", "-.")


def draw_cycles(runs: xr.Dataset, size: float, rho: float, lam: float) -> Figure:
    """X/rho of every rule against a = step size times eigenvalue; dots: the ends of runs; dashed: SAMPa's bound."""
    figure, axes = plt.subplots(figsize=(8.5, 4.4))
    sizes = np.linspace(0.02, 1.97, 200)
    for k, (name, label) in enumerate(SHOWN.items()):
        known = [amplitude(name, a, rho) / rho for a in sizes]
        colour = PALETTE[k % len(PALETTE)]
        axes.plot(sizes, known, _STYLES[k // 3 % 4], color=colour, label=label)
        one = runs.sel(rule=name)
        axes.plot(size, float(one.off + one.amplitude) / rho, "o", color=colour, markersize=5)
    bound = o.max_sharpness(o.sampa(1.0, rho, lam))
    axes.axvline(bound, color=GUIDE, linestyle="--", linewidth=1)
    axes.text(bound, 0.0095, f" SAMPa (λ = {lam:g}) diverges beyond {bound:.3f}", fontsize=9, va="bottom")
    axes.set(
        xlim=(0, 2),
        ylim=(0.008, 12),
        yscale="log",
        xlabel=r"$a$ = step size · eigenvalue",
        ylabel=r"amplitude $X/\rho$",
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def amplitude(name: str, a: float, rho: float) -> float:
    """X at step size a and eigenvalue 1; NaN where the rule has no cycle."""
    try:
        return o.two_cycle(CYCLING[name](a, rho), 1.0).amplitude
    except ValueError:
        return np.nan


def draw_saddles(found: xr.Dataset) -> Figure:
    """The region of (a, |r|) in which SAM cycles around a strict saddle, with runs beside its edges."""
    figure, axes = plt.subplots(figsize=(6.2, 4))
    a = np.linspace(0.01, 1.9, 200)
    axes.fill_between(a, a / (2 - a), 2 / (2 - a), color=SHADE, alpha=0.18, label="SAM cycles for ever")
    for edge in (a / (2 - a), 2 / (2 - a)):
        axes.plot(a, edge, color=GUIDE, linewidth=1)
    for size in found.a.values:
        for j, factor in enumerate(found.edge.values):
            r = factor * ((size if j < 2 else 2.0) / (2 - size))
            stays = bool(found.stays.sel(a=size, edge=factor))
            axes.plot(
                size, r, "o", color=PALETTE[0] if stays else PALETTE[1], markerfacecolor=None if stays else "white",
                markersize=6,
            )  # fmt: skip
    axes.plot([], [], "o", color=PALETTE[0], label="run that stayed")
    axes.plot([], [], "o", color=PALETTE[1], markerfacecolor="white", label="run that left")
    axes.set(
        xlim=(0, 1.9),
        ylim=(0, 6),
        xlabel=r"$a$ = step size · top eigenvalue",
        ylabel=r"$|r|$, negative over top eigenvalue",
    )
    axes.legend(fontsize=9, loc="upper left")
    return figure


def draw_trial(trial: Mapping[str, xr.Dataset], fixed: xr.Dataset | None, step_size: float) -> Figure:
    """A panel a task: every method's test error minus SGD's with its 95 % interval; the markers' area is the cost of a step.
    On noisy in hollow markers the same with one untuned step size for both.
    """
    figure, panels = plt.subplots(1, len(trial), figsize=(4.6 * len(trial) + 0.6, 3.6), squeeze=False)
    for axes, (task, found) in zip(panels[0], trial.items(), strict=True):
        methods = [str(name) for name in found.rule.values if name != "sgd"]
        for height, method in enumerate(methods):
            one = found.sel(rule=method)
            cost = float(one.gradients / one.steps)
            _row(axes, height, interval(gain(found, method)), 30 * cost, PALETTE[0], filled=True)
        labels = [_words(method) for method in methods]
        if fixed is not None and task == "noisy":
            for method in ("sgd_half", "sam"):
                height = len(labels)
                one = fixed.sel(rule=method)
                cost = float(one.gradients / one.steps)
                _row(axes, height, interval(gain(fixed, method)), 30 * cost, PALETTE[1], filled=False)
                labels.append(f"{_words(method)}, step size {step_size:g}")
        axes.axvline(0, color=GUIDE, linewidth=1)
        axes.axvspan(-0.5, 0.5, color=SHADE, alpha=0.1, linewidth=0)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xscale("symlog", linthresh=1.0, linscale=1.5)
        reach = max(abs(edge) for edge in axes.get_xlim())
        axes.set_xlim(-1.3 * reach, 1.3 * min(reach, 3.0))
        ticks = [tick for tick in (-10, -3, -1, -0.5, 0, 0.5, 1, 3) if -1.3 * reach < tick < 1.3 * min(reach, 3.0)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
        axes.minorticks_off()
        axes.set_title(f"{task}: SGD {float(found.test_error.sel(rule='sgd').mean()):.1f} %", fontsize=11)
        axes.set_xlabel("test error minus SGD's (pp)")
    return figure


def _row(axes: Axes, height: int, ends: tuple[float, float, float], area: float, colour: str, filled: bool) -> None:
    mean, low, high = ends
    axes.plot([low, high], [height, height], color=colour, linewidth=2)
    axes.scatter(
        [mean], [height], s=area, color=colour if filled else "white", edgecolor=colour, linewidth=1.5, zorder=3
    )


def _words(method: str) -> str:
    return {
        "sgd_half": "SGD, half the steps", "random_sam": "random direction", "sam": "SAM", "momentum_sam": "Momentum-SAM",
        "sgd_wd": "weight decay",
    }.get(method, method.replace("_", "-").replace("-sam", "-SAM"))  # fmt: skip
