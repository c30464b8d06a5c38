"""Figures of the digits experiments."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.figures import PALETTE, band, describe, interval


def draw_changes(
    moderate: Mapping[str, xr.DataArray], large: Mapping[str, xr.DataArray], radii: tuple[float, float]
) -> Figure:
    """Paired change of the test error against ERM, one row per method: at a moderate and at a large radius."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), width_ratios=(3, 2))
    for ax, changes, rho in zip(axes, (moderate, large), radii, strict=True):
        _rows(ax, changes)
        ax.set(title=f"$\\rho$ = {rho:g}", xlabel="change of test error against ERM [pp]")
    axes[1].set_xscale("symlog", linthresh=1)
    axes[1].set_xticks([-1, 0, 1, 10, 100], ["-1", "0", "1", "10", "100"])
    axes[1].set_xlim(-1.5, 150)
    return figure


def draw_flatness(sharpness: Mapping[str, xr.DataArray], changes: Mapping[str, xr.DataArray]) -> Figure:
    """Sharpness of each model against its change of test error: seeds open, means filled."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    for (name, sharp), marker, colour in zip(sharpness.items(), "so^", PALETTE, strict=False):
        gain = changes[name]
        ax.plot(sharp, gain, marker, color=colour, mfc="none", label=name)
        ax.plot(sharp.mean(), gain.mean(), marker, color=colour, markersize=11)
        describe(ax, f"{name}: mean sharpness {float(sharp.mean()):.3g}, change {float(gain.mean()):+.2g} pp")
    ax.set(xlabel=r"n-sharpness at $\rho$ = 0.1 [loss]", ylabel="change of test error\nagainst ERM [pp]")
    ax.legend()
    return figure


def draw_second_trainings(changes: Mapping[str, xr.DataArray], line: xr.Dataset) -> Figure:
    """Models trained twice against ERM, and the errors on the line from ERM to its fine-tuned successor."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
    _rows(axes[0], changes)
    axes[0].set_xlabel("change of test error against ERM [pp]")
    for name, label, dash in (("test_error", "test", "-"), ("train_error", "training", "--")):
        band(axes[1], line.t, line[name].transpose("seed", "t"), label, linestyle=dash)
    axes[1].set(xlabel="position: 0 ERM, 1 ERM then SAM", ylabel="error [%]", ylim=(-0.5, 20))
    axes[1].legend()
    return figure


def draw_noisy_labels(noise: xr.Dataset) -> Figure:
    """Test error and training error on the wrong labels against the epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharex=True)
    titles = {"odd_error": "test error [%]", "noisy_error": "training error on the wrong labels [%]"}
    for ax, (quantity, title) in zip(axes, titles.items(), strict=True):
        for method, dash in zip(noise.rule.values, ["-", "--", "-."], strict=False):
            band(
                ax, noise.epoch, noise[quantity].sel(rule=method).transpose("seed", "step"), str(method), linestyle=dash
            )
        ax.set(xlabel="epoch", ylabel=title)
    axes[0].legend()
    return figure


def _rows(ax: Axes, changes: Mapping[str, xr.DataArray]) -> None:
    for place, ((name, change), colour) in enumerate(zip(changes.items(), PALETTE, strict=False)):
        mean, low, high = (float(part) for part in interval(change.values))
        ax.plot(change, np.full(change.size, place + 0.2), ".", color=colour, alpha=0.35, markersize=5)
        ax.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=4)
        describe(ax, f"{name}: {mean:+.2f} [{low:+.2f}, {high:+.2f}] pp over {change.size} seeds")
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set_yticks(range(len(changes)), list(changes))
    ax.set_ylim(len(changes) - 0.5, -0.5)
    ax.grid(False, axis="y")
