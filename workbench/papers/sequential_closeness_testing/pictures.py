"""The figures of the notebook: each function draws on Axes that it is given and registers what it drew in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from workbench.figures.bands import sweep_bands
from workbench.figures.slopes import loglog
from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.words import describe
from workbench.papers.sequential_closeness_testing.stopping_law import StoppingLaw
from workbench.papers.sequential_closeness_testing.study import HYPOTHESES
from workbench.papers.sequential_closeness_testing.z_statistic import check_times, crossing_time, z_threshold

RULE_NAMES = {"sprt": "mixture SPRT", "glr": "GLR"}
_BARS = 60
_STYLES = ("-", "--", "-.")


def stopping_times(axes: Sequence[Axes], laws: Mapping[str, StoppingLaw], batch: int, eps: float) -> None:
    """Exact law of the stopping time of each rule at 1/2, 1/2 + eps, 1/2 + 2 eps, one Axes each; the batch size is dashed."""
    names = ("$p=1/2$", r"$p=1/2+\epsilon$", r"$p=1/2+2\epsilon$")
    end = 1.1 * max(batch, *(int(np.searchsorted(law.pmf[:2].sum(0).cumsum(), 2 - 1e-4)) for law in laws.values()))
    edges = np.linspace(0, end, _BARS + 1)
    for ax, (rule, law) in zip(axes, laws.items(), strict=True):
        for k, name in enumerate(names):
            heights, _ = np.histogram(_times(law), edges, weights=law.pmf[k])
            label = f"{name}: mean {law.E_tau[k]:.0f}, {batch / law.E_tau[k]:.2f} times fewer"
            ax.stairs(
                heights / np.diff(edges), edges, color=PALETTE[k], linestyle=_STYLES[k], linewidth=1.8, label=label
            )
            describe(ax, label)
        ax.axvline(batch, color=GUIDE, linestyle="--", linewidth=1.2, label=f"batch size {batch}")
        ax.set(title=RULE_NAMES[rule], xlabel="samples $\\tau$", xlim=(0, end))
        ax.legend(fontsize=9)
    axes[0].set_ylabel("probability per sample")


def _times(law: StoppingLaw) -> np.ndarray:
    return np.arange(1, law.pmf.shape[-1] + 1)


def savings(ax: Axes, table: xr.Dataset, eps: float) -> None:
    """Batch size over expected size against the digits of delta, both rules and hypotheses."""
    for k, rule in enumerate(table.rule.values):
        for hypothesis, style, marker in zip(HYPOTHESES, ("-", "--"), "os", strict=True):
            ratio = table.saving.sel(rule=rule, eps=eps, hypothesis=hypothesis)
            label = f"{RULE_NAMES[rule]}, {hypothesis}"
            ax.semilogx(table.digits, ratio, style, marker=marker, color=PALETTE[k], label=label)
            describe(ax, f"{label}: {float(ratio[0]):.2f} to {float(ratio[-1]):.2f}")
    ax.axhline(1, color=GUIDE, linewidth=1)
    ax.set(xlabel=r"$\log_{10}(1/\delta)$", ylabel="batch size over expected size", title=rf"ratio, $\epsilon={eps:g}$")
    _plain_ticks(ax, table.digits.values)
    ax.legend(fontsize=9)


def slopes(ax: Axes, found: xr.Dataset, two_looks: xr.Dataset) -> None:
    """Growth of the batch size over growth of the expected size, its limits, and the same with two looks only."""
    for k, hypothesis in enumerate(HYPOTHESES):
        one = found.sel(hypothesis=hypothesis)
        label = f"{hypothesis}, limit {float(one.limit):.2f}"
        ax.semilogx(found.digits, one.slope, ["-", "--"][k], marker="os"[k], color=PALETTE[k], label=label)
        ax.axhline(float(one.limit), color=PALETTE[k], linestyle=":", linewidth=1.2)
        describe(ax, f"{label}: last slope {float(one.slope[-1]):.2f}")
        control = two_looks.sel(hypothesis=hypothesis).slope
        ax.semilogx(found.digits, control, marker="x", color=GUIDE, label="two looks only" if k == 0 else None)
        describe(ax, f"two looks, {hypothesis}: last slope {float(control[-1]):.2f}")
    ax.axhline(4, color=GUIDE, linewidth=1)
    ax.set(xlabel=r"$\log_{10}(1/\delta)$", ylabel="slope", title="growth of batch over growth of expected size")
    ax.set(ylim=(1.7, 4.3))
    _plain_ticks(ax, found.digits.values)
    ax.legend(fontsize=9, loc="center right")


def costs(ax: Axes, sizes: xr.DataArray, eps: float, batch: int) -> None:
    """E tau against the true distance: the GLR follows 1/(2 d^2), the hardest distance lies between 0 and eps."""
    positive = sizes.sel(d=sizes.d > 0)
    for k, rule in enumerate(sizes.rule.values):
        line = positive.sel(rule=rule)
        ax.loglog(line.d, line, ["-", "--"][k], marker="os"[k], markersize=4, color=PALETTE[k], label=RULE_NAMES[rule])
        worst = line.d.values[int(line.argmax("d"))]
        describe(
            ax,
            f"{RULE_NAMES[rule]}: largest {float(line.max()):.0f} at d = {worst:.3g}, {float(line[-1]):.0f} at the end",
        )
    ax.axhline(batch, color=GUIDE, linestyle="--", linewidth=1.2, label=f"batch size {batch}")
    far = positive.d.values[positive.d.values >= eps]
    last = float(positive.sel(rule="glr")[-1])
    ax.loglog(far, last * (far / far[-1]) ** -2.0, ":", color=GUIDE, label=r"$\propto d^{-2}$")
    ax.axvspan(float(positive.d[0]), eps, color="0.93", zorder=0)
    _plain_ticks(ax, np.array([place for place in (0.02, 0.05, 0.1, 0.2, 0.4) if place <= positive.d.values[-1]]))
    ax.set(
        xlabel="true distance $d$",
        ylabel=r"expected samples $E\,\tau$",
        title=rf"$\epsilon={eps:g}$; grey: $d<\epsilon$",
    )
    ax.legend(fontsize=9)


def crossings(
    ax: Axes,
    times: xr.DataArray,
    along: str,
    hue: str,
    guides: Mapping[str, float],
    simulated: xr.DataArray | None = None,
) -> None:
    """t* against n or d, a line for each `hue`; means of simulated runs with their intervals on top."""
    loglog(ax, times, along, hue, over=None, guides=guides, markersize=4)
    if simulated is not None and simulated.size:
        mean = simulated.mean("run")
        error = 1.96 * simulated.std("run", ddof=1) / np.sqrt(simulated.sizes["run"])
        ax.errorbar(
            simulated[along], mean, yerr=error, fmt="D", color=PALETTE[3], capsize=3, markersize=6,
            markerfacecolor="white", label="simulated mean", zorder=5,
        )  # fmt: skip
        ax.legend(fontsize=9)
        describe(
            ax,
            f"simulated means over the crossing time: {', '.join(f'{value:.2f}' for value in (mean / simulated.t_star).values)}",
        )


def false_alarms(ax: Axes, alarms: xr.DataArray, constants: Mapping[str, float], delta: float) -> None:
    """Share of runs (c, distribution, run) that err, a marker for each named constant, with delta as the level."""
    places = range(alarms.sizes["distribution"])
    for k, (name, c) in enumerate(constants.items()):
        share = 100 * alarms.sel(c=name).mean("run")
        label = f"{name}, c = {c:g}"
        ax.plot(share, places, "os"[k], color=PALETTE[k], label=label)
        describe(ax, f"{label}: {float(share.min()):.1f} to {float(share.max()):.1f} per cent")
    ax.axvline(100 * delta, color="0.3", linestyle="--", label=r"$\delta$")
    ax.set_yticks(places, alarms.distribution.values)
    ax.set(xlabel="false alarms, per cent", title="equal distributions", xlim=(-0.3, 100 * delta + 1))
    ax.legend(fontsize=9)


def known_distance(ax: Axes, far: xr.Dataset) -> None:
    """Median over runs of the saving (d, run) against the true distance, where eps is known."""
    sweep_bands(ax, far.saving.rename(run="seed"), x="d", average="median")
    ax.axhline(1, color="0.3", linewidth=1)
    title = rf"$\epsilon={far.attrs['eps']:g}$ known, $n={far.attrs['n']}$"
    ax.set(xlabel="true distance $d$", ylabel="batch size over samples", title=title, yscale="log")


def z_paths_picture(
    ax: Axes, equal: np.ndarray, apart: np.ndarray, n: int, d: float, delta: float, c: float, t_max: int
) -> None:
    """Paths of Z with and without a difference, the threshold u_t, and the expected crossing time."""
    times = check_times(t_max)
    for k, (paths, label) in enumerate(((equal, "$D_1=D_2$"), (apart, f"$d={d:g}$"))):
        ax.plot(times, paths.T, color=PALETTE[k], linewidth=0.8, alpha=0.7, linestyle=_STYLES[k])
        ax.plot([], [], color=PALETTE[k], linestyle=_STYLES[k], label=label)
    ax.plot(times, z_threshold(times, delta, c), color=GUIDE, linewidth=2, label=f"$u_t$, $c={c:g}$")
    crossing = crossing_time(n, d, delta, c)
    ax.axvline(crossing, color=GUIDE, linestyle=":", label=f"$t^*={crossing:.0f}$")
    ax.set(xlabel="samples $t$", ylabel="$Z_t$", title=f"$n={n}$, {len(equal)} runs each")
    ax.legend(fontsize=9)
    over = (apart > z_threshold(times, delta, c)).any(1).mean()
    describe(ax, f"{over:.0%} of the runs with a difference cross u_t by t = {times[-1]}, expected at {crossing:.0f}")


def _plain_ticks(ax: Axes, places: np.ndarray) -> None:
    ax.set_xticks(places, [f"{place:g}" for place in places])
    ax.xaxis.set_minor_locator(NullLocator())
