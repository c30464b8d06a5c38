"""The paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from workbench import figures
from workbench.claims.verdict import Verdict
from workbench.figures.style import GUIDE, PALETTE, VERDICTS
from workbench.papers.f2m.base import embed
from workbench.papers.f2m.prototypes import sorted_labels
from workbench.papers.f2m.sessions import stages
from workbench.papers.f2m.settings import Session
from workbench.papers.f2m.study import Study

MARKERS = "osD^vP*Xph"
BASES = {"standard": "standard", "fm": "noise (FM)", "f2m": "noise and PF (F2M)", "wide": "noise (FM), wide box"}
STYLES = dict(zip(BASES, zip(PALETTE, ("-", "--", "-.", ":"), "osD^", strict=False), strict=False))


def draw_gains(study: Study, names: Sequence[str], verdicts: Mapping[str, Verdict]) -> Figure:
    """Last-session accuracy minus Baseline, a row per method: dots for seeds, interval of the mean, verdict of its claim."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 0.42 * len(names) + 1.5), sharey=True, width_ratios=(1, 1.25))
    far, near = axes
    for height, name in enumerate(names):
        gain = study.gain(name, "baseline").values
        middle, low, high = (float(part) for part in figures.interval(gain))
        verdict = verdicts[name].verdict if name in verdicts else ""
        colour, marker = VERDICTS[verdict] if verdict else (GUIDE, "|")
        for ax in axes:
            ax.plot(gain, np.full(gain.shape, height + 0.24), ".", color=colour, alpha=0.35, markersize=4)
            ax.plot([low, high], [height, height], color=colour, linewidth=2.6, solid_capstyle="butt")
            ax.plot(middle, height, marker, color=colour, markeredgecolor="white" if verdict else colour, markersize=9)
        words = f"{study.methods[name].words}: {middle:+.1f} ({low:+.1f} to {high:+.1f}), {len(gain)} seeds"
        figures.describe(near, f"{words}, {verdict}" if verdict else words)
    far.set_yticks(range(len(names)), [study.methods[name].words for name in names])
    far.set(ylim=(len(names) - 0.4, -0.6), title="all")
    near.set(xlim=(-10, 8), title="near 0")
    for ax in axes:
        ax.axvline(0, color=GUIDE, linewidth=1.2)
        ax.set(xlabel="accuracy minus Baseline [pp]")
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
    seen = dict.fromkeys(verdict.verdict for name, verdict in verdicts.items() if name in names)
    for verdict in seen:
        near.plot([], [], VERDICTS[verdict][1], color=VERDICTS[verdict][0], label=verdict)
    near.plot([], [], "|", color=GUIDE, label="no claim")
    near.legend(fontsize=9, loc="lower right")
    return figure


def draw_widths(curve: xr.DataArray, marked: Mapping[str, float]) -> Figure:
    """Overall, base and new accuracy against the clamp width, a band over seeds for each base; chosen widths as lines."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7))
    titles = {"all": "all classes", "base": "base classes", "new": "new classes"}
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        for name in curve.base.values:
            colour, dash, marker = STYLES[name]
            samples = curve.sel(base=name, group=group, drop=True)
            line = {"color": colour, "linestyle": dash, "marker": marker}
            figures.band(ax, None, samples.transpose("seed", "width"), BASES[name], **line)
        for name, width in marked.items():
            ax.axvline(width, color=STYLES[name][0], linestyle=STYLES[name][1], linewidth=1)
        ax.set(xscale="log", xlabel="half-width of the clamp", ylabel="accuracy [%]", title=title)
        ax.xaxis.set_major_locator(FixedLocator(curve.width.values.tolist()))
        ax.set_xticklabels([f"{width:g}".lstrip("0") for width in curve.width.values])
        ax.xaxis.set_minor_locator(NullLocator())
    axes[0].legend(fontsize=9, loc="lower left")
    return figure


def draw_noise(found: Mapping[str, xr.Dataset], ratios: Mapping[str, np.ndarray]) -> Figure:
    """Prototype drift and loss change against the radius of the noise, a band per base; paired ratios of the two claims."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), width_ratios=(1, 1, 0.8))
    labels = {"drift": "relative prototype drift", "loss_change": "mean squared loss change"}
    for ax, (measure, label) in zip(axes, labels.items(), strict=False):
        for name, measured in found.items():
            colour, dash, marker = STYLES[name]
            line = {"color": colour, "linestyle": dash, "marker": marker}
            samples = measured[measure].transpose("seed", "radius")
            # Where no seed has converged there is nothing to draw, and no logarithm of it.
            seen = bool(np.isfinite(samples).any())
            label = BASES[name] if seen else f"{BASES[name]} (not converged)"
            figures.band(ax, None, samples, label, average="geometric" if seen else "mean", log=seen, **line)
        ax.set(xscale="log", xlabel="radius of the noise", ylabel=label)
        radii = next(iter(found.values())).radius.values
        ax.xaxis.set_major_locator(FixedLocator(radii.tolist()))
        ax.set_xticklabels([f"{radius:g}".lstrip("0") for radius in radii])
        ax.xaxis.set_minor_locator(NullLocator())
    axes[0].legend(fontsize=8.5, loc="lower right")
    right = axes[2]
    for height, (words, samples) in enumerate(ratios.items()):
        middle, low, high = (float(part) for part in figures.interval(samples, "geometric"))
        right.plot(samples, np.full(samples.shape, height + 0.15), ".", color=PALETTE[0], alpha=0.4)
        right.plot([low, high], [height, height], color=PALETTE[0], linewidth=2.6, solid_capstyle="butt")
        right.plot(middle, height, "o", color=PALETTE[0], markeredgecolor="white", markersize=8)
        figures.describe(right, f"{words.replace(chr(10), ' ')}: {middle:.2f} ({low:.2f} to {high:.2f})")
    right.axvline(1, color=GUIDE, linewidth=1.2)
    right.set_yticks(range(len(ratios)), list(ratios), fontsize=9)
    right.set(ylim=(len(ratios) - 0.5, -0.5), xscale="log", xlabel="paired ratio")
    right.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1.0]))
    right.set_xticklabels(["0.1", "0.2", "0.5", "1"])
    right.xaxis.set_minor_locator(NullLocator())
    right.grid(False, axis="y")
    return figure


def draw_sessions(study: Study, names: Sequence[str]) -> Figure:
    """Accuracy after every session, over all, base and new classes: bands over seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7))
    titles = {"all": "all classes seen", "base": "base classes", "new": "new classes"}
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        for k, name in enumerate(names):
            curve = study.accuracy(name, group)
            if group == "new":
                curve = curve.isel(session=slice(1, None))
            style = {"color": PALETTE[k], "linestyle": ("-", "--", "-.", ":")[k % 4], "marker": MARKERS[k]}
            figures.band(ax, None, curve, study.methods[name].words, **style)
        ax.set(xlabel="session", ylabel="accuracy [%]", title=title)
        ax.set_xticks(range(study.accuracy(names[0]).sizes["session"]))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def draw_embeddings(study: Study, seed: int = 0) -> Figure:
    """Test embeddings and prototypes of one seed in the plane of their two largest components: base, after F2M's sessions, and
    after the same without a clamp.
    """
    bases, episodes = study.base("f2m").part(seed, seed + 1), study.episodes.of(seed, seed + 1).with_draws(1)
    tuning = {"ft_steps": study.p.ft_steps, "ft_lr": study.p.ft_lr, "scale": study.p.scale}
    clamped = list(stages(bases, episodes, Session(study.p.clamp_width, **tuning)))
    free = list(stages(bases, episodes, Session(**tuning)))[-1]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), sharex=True, sharey=True)
    plane = None
    titles = ("after base training", "after the sessions, clamped", "after the sessions, no clamp")
    for ax, title, stage in zip(axes, titles, (clamped[0], clamped[-1], free), strict=True):
        rows = episodes.test[:, : stage.prototypes.shape[1]]
        points = embed(study.network, stage.parameters, episodes.images, rows)[0]
        # The plane is that of the prototypes at the end of the clamped sessions, which all classes span.
        plane = principal_plane(clamped[-1].prototypes[0]) if plane is None else plane
        draw_plane(ax, plane, points, stage.prototypes[0], episodes.n_base)
        moved = float((stage.prototypes[0, : episodes.n_base] - points[: episodes.n_base].mean(1)).norm(dim=-1).mean())
        ax.set(xlabel="first component", title=title)
        figures.describe(ax, f"{title}: base classes' means lie {moved:.2f} from their stored prototypes on average")
    axes[0].set(ylabel="second component")
    return figure


def principal_plane(points: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and the two directions of largest spread, [feature, 2]."""
    centre = points.mean(0)
    return centre, torch.linalg.svd(points - centre, full_matrices=False).Vh[:2].T


def draw_plane(ax: Axes, plane: tuple[Tensor, Tensor], points: Tensor, centres: Tensor, n_base: int) -> None:
    """Samples as dots, prototypes as crosses; base classes filled, new ones as rings."""
    centre, directions = plane
    labels = sorted_labels(*points.shape[:2])
    flat, places = (points.flatten(0, 1) - centre) @ directions, (centres - centre) @ directions
    for label in range(len(centres)):
        own = flat[labels == label]
        colour = PALETTE[label % len(PALETTE)]
        new = label >= n_base
        ax.scatter(*own.T, s=10, facecolors="none" if new else colour, edgecolors=colour, linewidths=0.8, alpha=0.6)
        ax.plot(*places[label], "P" if new else "X", color=colour, markeredgecolor="black", markersize=10, zorder=4)


def draw_published(table: pd.DataFrame) -> Figure:
    """Accuracy after every session as printed for CIFAR-100, a line per method."""
    figure, ax = plt.subplots(figsize=(7.5, 3.9))
    curves = table.set_index("method").astype(float)
    curves = curves.loc[["F2M", *(name for name in curves.index if name != "F2M")]]
    for k, (name, row) in enumerate(curves.iterrows()):
        thick = 2.6 if name in ("F2M", "Baseline") else 1.2
        style = {"color": PALETTE[k], "linestyle": ("-", "--", "-.", ":")[k % 4], "marker": MARKERS[k]}
        ax.plot(range(len(row)), row, label=str(name), linewidth=thick, markersize=4, **style)
        figures.describe(ax, f"{name}: {row.iloc[0]:.1f} to {row.iloc[-1]:.1f}")
    ax.set(xlabel="session", ylabel="accuracy [%]", title="CIFAR-100, 60 + 8 x 5 classes, printed")
    ax.legend(fontsize=9, ncols=2)
    return figure
