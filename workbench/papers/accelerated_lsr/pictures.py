"""The figures of the notebook: each function draws on Axes that it is given and registers what it drew in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from workbench.figures.bands import interval
from workbench.figures.planes import phase_diagram
from workbench.figures.slopes import loglog
from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.words import describe, interval_words

NAMES = {"acsgd": "AcSGD", "sgd": "SGD"}
WORDS = {"last": "last iterate", "average": "average"}


def worst_cases(ax: Axes, found: xr.Dataset, design: str) -> None:
    """Worst-case risk of AcSGD and SGD, last and averaged, with guides of slope -1 and -2 and the first T where AcSGD wins."""
    one = found.sel(design=design)
    curves = xr.concat(
        [one[arm].sel(output=output, drop=True) for arm in NAMES for output in WORDS], "curve", coords="minimal"
    )
    names = [f"{name}, {words}" for name in NAMES.values() for words in WORDS.values()]
    curves = curves.assign_coords(curve=names)
    loglog(ax, curves, "step", hue="curve", over=None, guides={"$1/T$": -1, "$1/T^2$": -2})
    for output, words in WORDS.items():
        ahead = (one.sgd > one.acsgd).sel(output=output)
        if ahead.any():
            first = int(ahead.step[ahead.values][0])
            describe(ax, f"{words}: AcSGD is below SGD from T = {first} on")
            if output == "last":
                ax.axvline(first, color=GUIDE, linewidth=1, zorder=1)
                ax.annotate(f"AcSGD ahead from $T={first}$", (first, 0.04), xycoords=("data", "axes fraction"),
                            xytext=(-6, 0), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
    ax.legend(fontsize=9, loc="lower left")
    ax.set_title({"gauss": "Gaussian features", "onehot": "one-hot features"}[design])


def noise_part(ax: Axes, curves: xr.Dataset, floor: float, bracket: tuple[float, float]) -> None:
    """Noise part of the risk: averages fall like 1/T, AcSGD's last iterate rises to its floor (dashed), bracketed at the end."""
    for k, (arm, name) in enumerate(NAMES.items()):
        for output, style in (("average", "-"), ("last", "--")):
            line = curves[output].sel(arm=arm).where(lambda part: part > 0, drop=True)
            label = f"{name}, {WORDS[output]}"
            ax.loglog(line.step, line, style, color=PALETTE[k], label=label)
            describe(ax, f"{label}: {float(line[-1]):.3g} at T = {int(line.step[-1])}")
    last = curves.last.sel(arm="acsgd")
    if np.isfinite(floor):
        ax.axhline(floor, color=GUIDE, linestyle=":", linewidth=1.5, label="floor of AcSGD's last iterate, closed form")
        low, high = bracket
        ax.plot([float(last.step[-1])] * 2, [low, high], color=PALETTE[3], linewidth=5, alpha=0.6, label="bracket")
        describe(ax, f"closed-form floor {floor:.4g}, between {low:.4g} and {high:.4g}")
    average = curves.average.sel(arm="acsgd")
    steps = curves.step.values[curves.step.values >= 30]
    ax.loglog(steps, 0.5 * float(average[-1]) * steps[-1] / steps, color=GUIDE, linewidth=1, label="$1/T$")
    ax.set(xlabel="samples $T$", ylabel="expected excess risk")
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def gains(ax: Axes, samples: Mapping[str, np.ndarray], control: Mapping[str, np.ndarray] | None = None) -> None:
    """Mean log ratio SGD/AcSGD with its 95 % interval per comparison, all seeds behind it; crosses: without the factor t + 1."""
    for row, (name, values) in enumerate(samples.items()):
        centre, low, high = (part.item() for part in interval(np.asarray(values)))
        ax.plot(values, np.full(len(values), row), "|", color=PALETTE[0], alpha=0.35, markersize=9)
        ax.errorbar(centre, row, xerr=[[centre - low], [high - centre]], fmt="o", color=PALETTE[0], capsize=4)
        describe(ax, f"{name}: {interval_words(centre, low, high)}, {len(values)} seeds")
        if control is not None:
            mean = float(np.mean(control[name]))
            ax.plot(
                mean,
                row,
                "x",
                color=PALETTE[3],
                markersize=8,
                label="control: z-step without $t+1$" if row == 0 else None,
            )
            describe(ax, f"{name} without the factor t + 1: {mean:.3g}")
    ax.axvline(0, color=GUIDE, linewidth=1.2)
    ax.set_yticks(range(len(samples)), list(samples))
    ax.set_ylim(len(samples) - 0.5, -0.5)
    ax.set_xlabel("log (risk of averaged SGD / risk of averaged AcSGD)")
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1, 10], ["-1", "-0.5", "0", "0.5", "1", "10"])
    ax.minorticks_off()
    ax.set_xlim(-1.2, 14)
    if control is not None:
        ax.legend(fontsize=9, loc="lower right")


def stability_map(ax: Axes, Q: xr.DataArray, theorem: float, defaults: tuple[float, float]) -> None:
    """Q over the two step sizes with the exact boundary Q = 1, the theorem's region and the default."""
    boundary = [float(np.interp(1.0, row, Q.ratio.values)) for row in np.minimum(Q.values, 10)]
    phase_diagram(
        ax, "beta_R2", "ratio", Q.transpose("ratio", "beta_R2"), diverged=(Q >= 1).transpose("ratio", "beta_R2"),
        boundary={"$Q=1$": (Q.beta_R2.values, np.array(boundary))}, label="$Q$ (hatched: unstable)",
        xlabel=r"$\beta R^2$", ylabel=r"$\alpha d/\beta$", vmin=0, vmax=1,
    )  # fmt: skip
    ax.axhline(theorem, xmax=0.5, color=PALETTE[3], linestyle="--", linewidth=1.4, label="the theorem's limit")
    ax.plot(*defaults, "o", color=PALETTE[1], markeredgecolor="white", markersize=9, label="default")
    describe(
        ax,
        f"the largest stable ratio falls from {boundary[0]:.3g} to {boundary[-1]:.3g}; the theorem asks for {theorem:.3g}",
    )
    ax.legend(fontsize=9, loc="upper right")


def lower_bound(ax: Axes, ratios: xr.DataArray) -> None:
    """Risk over the lower bound against t/d: nothing below 1, Kaczmarz on it."""
    for k, arm in enumerate(ratios.arm.values):
        for d, marker in zip(ratios.d.values, "os^v", strict=False):
            line = ratios.sel(arm=arm, d=d).where(lambda part: part > 0)
            ax.semilogy(line.share, line, marker=marker, markersize=5, color=PALETTE[k], alpha=0.8,
                        label=arm if d == ratios.d.values[0] else None)  # fmt: skip
        describe(ax, f"{arm}: {float(ratios.sel(arm=arm).min()):.4g} to {float(ratios.sel(arm=arm).max()):.3g}")
    ax.axhline(1, color=GUIDE, linewidth=1.2)
    ax.set(xlabel="$t/d$", ylabel="risk over lower bound")
    ax.legend(fontsize=9)
