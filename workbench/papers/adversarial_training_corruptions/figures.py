"""The paper's figures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from workbench import figures
from workbench.data.preparing import corruptions
from workbench.figures.style import GUIDE, PALETTE, SHADE
from workbench.papers.adversarial_training_corruptions import detector, digits, distances, published
from workbench.papers.adversarial_training_corruptions.comparison import Arms, Comparison
from workbench.papers.adversarial_training_corruptions.rules import Rule

MARKERS = "osD^vP*X"
GROUPS = ("noise", "blur", "weather", "digital")


def _words(name: str) -> str:
    return name.replace("_", " ").removesuffix(" transform").removesuffix(" compression")


def draw_contact_sheet(profile: str = "cifar", severity: int = 5) -> Figure:
    """One photograph patch and one digit under every corruption."""
    patch = distances.photograph_patches()[137:138]
    digit = digits.digits()[0][5].reshape(1, 1, 8, 8)
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 2.3))
    for ax, image, kind in ((above, patch, profile), (below, digit, "digits")):
        changed = [corruptions.apply(image, name, severity, profile=kind)[0] for name in corruptions.names()]
        columns = torch.stack([image[0], *changed]).numpy()
        labels = ["clean", *(_words(name).replace(" ", "\n") for name in corruptions.names())]
        figures.image_strip(ax, columns, labels if ax is above else ())
        ax.tick_params(labelsize=8)
    return figure


def draw_radii(compared: Comparison, arms: Arms, marked: Sequence[tuple[str, Rule]]) -> Figure:
    """Accuracy against the l2 radius, clean and corrupted; other directions of the judged radius as open markers."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    rules = sorted({arms.l2, arms.l2_large, *arms.l2_others}, key=lambda rule: rule.radius)
    for ax, what in zip(axes, ("corrupted", "clean"), strict=True):
        samples = [_accuracy(compared, rule, what) for rule in (arms.standard, *rules)]
        radii = np.array([0.0, *(rule.radius for rule in rules)])
        middle, low, high = (np.array(part) for part in zip(*(figures.interval(one) for one in samples), strict=True))
        ax.errorbar(
            radii,
            middle,
            yerr=[middle - low, high - middle],
            fmt="o-",
            color=PALETTE[0],
            capsize=3,
            label="ℓ2, gradient",
        )
        for k, (name, rule) in enumerate(marked, start=1):
            one = figures.interval(_accuracy(compared, rule, what))
            ax.errorbar(
                [rule.radius], [one[0]], yerr=[[one[0] - one[1]], [one[2] - one[0]]], fmt=MARKERS[k], color=PALETTE[k],
                markerfacecolor="white", capsize=3, label=name,
            )  # fmt: skip
            figures.describe(ax, f"{name} at {rule.radius:g}: {float(one[0]):.1f}")
        ax.set_xscale("function", functions=(np.sqrt, np.square))
        ax.set_xticks(radii, [f"{radius:g}" for radius in radii])
        ax.set(xlabel=r"$\ell_2$ radius of training", ylabel="accuracy [%]", title=f"{what} test images")
        points = ", ".join(f"{m:.1f} at {r:g}" for r, m in zip(radii, middle, strict=True))
        figures.describe(ax, f"mean over seeds {points}")
    axes[0].legend(fontsize=9)
    return figure


def _accuracy(compared: Comparison, rule: Rule, what: str) -> np.ndarray:
    return (compared.corrupted(rule) if what == "corrupted" else compared[rule].clean_accuracy).values


def draw_groups(compared: Comparison, rules: Sequence[tuple[str, Rule]], standard: Rule, table: pd.DataFrame) -> Figure:
    """Gains over standard training by group: here with intervals over seeds, and the published ones in both groupings."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4))
    places = np.arange(len(GROUPS))
    for k, (name, rule) in enumerate(rules):
        parts = [figures.interval(compared.gain(rule, standard, group).values) for group in GROUPS]
        middle, low, high = (np.array(part) for part in zip(*parts, strict=True))
        left.errorbar(
            places + 0.16 * (k - 1), middle, yerr=[middle - low, high - middle], fmt=MARKERS[k], color=PALETTE[k],
            capsize=3, label=name,
        )  # fmt: skip
        figures.describe(left, f"{name}: " + ", ".join(f"{g} {m:+.1f}" for g, m in zip(GROUPS, middle, strict=True)))
    trainings = (("ℓ2 0.1", "l2_0.1"), ("Gaussian 100 %", "gaussian100_0.05"), ("RLAT 0.08", "rlat_0.08"))
    for k, (name, column) in enumerate(trainings):
        for grouping, filled in (("paper", True), ("customary", False)):
            means = published.group_means(table, grouping)  # type: ignore[arg-type]
            gains = (means[column] - means["standard"]).loc[list(GROUPS)].tolist()
            right.plot(
                places + 0.2 * (k - 1) + (0 if filled else 0.07), gains, MARKERS[k], color=PALETTE[k],
                markerfacecolor=PALETTE[k] if filled else "white", label=name if filled else None,
            )  # fmt: skip
            words = ", ".join(f"{g} {m:+.1f}" for g, m in zip(GROUPS, gains, strict=True))
            figures.describe(right, f"{name}, {grouping} grouping: {words}")
    for ax, title in (
        (left, "digits"),
        (right, "CIFAR-10-C, published"),
    ):
        ax.axhline(0, color=GUIDE, linewidth=1)
        ax.set_xticks(places, GROUPS)
        ax.set(ylabel="gain over standard [pp]", title=title)
        ax.legend(fontsize=9)
    return figure


def draw_gain_map(compared: Comparison, rule: Rule, standard: Rule) -> Figure:
    """Gain over standard training, corruption by severity, mean over seeds."""
    gains = (compared[rule].accuracy - compared[standard].accuracy).mean("seed").round() + 0.0
    names = [_words(name) for name in gains.corruption.values]
    figure, ax = plt.subplots(figsize=(10, 3))
    most = float(abs(gains).max())
    figures.heatmap(
        ax, gains.values.T, names, [str(s) for s in gains.severity.values], write="{:.0f}", label="gain [pp]",
        cmap="PuOr", vmin=-most, vmax=most, ylabel="severity",
    )  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=9)
    return figure


def draw_detector(seeds: Sequence[int], trained: float = 3.0) -> Figure:
    """Class means and threshold against the test noise, with the working window; fitted thresholds on the exact curve."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
    noise = np.linspace(0, 6, 301)
    class_curves(left, noise, trained)
    sigma = np.linspace(0.1, 4, 200)
    right.plot(sigma, detector.threshold(1.0, sigma), color=PALETTE[0], label=r"exact $\kappa(\sigma)$")
    some = np.linspace(0.4, 4, 10)
    fitted = np.array([detector.fitted_thresholds(seed, some.tolist()) for seed in seeds])
    right.plot(some, fitted.T, ".", color=PALETTE[1], markersize=5, alpha=0.6)
    right.plot([], [], ".", color=PALETTE[1], label=f"fitted, {len(seeds)} seeds")
    critical = detector.critical_ratio()
    right.axhline(1, color=GUIDE, linestyle=":", label="clean positives")
    right.axvline(critical, color=PALETTE[3], linestyle="--", label=rf"$\sigma/\mu={critical:.4f}$")
    right.set(
        xlabel=r"training noise $\sigma/\mu$", ylabel="threshold over $\\mu$", title="where clean images are lost"
    )
    right.legend(fontsize=9)
    figures.describe(
        right, f"the threshold passes the clean positives at {critical:.4f}; fitted ones lie on the exact curve"
    )
    return figure


def class_curves(ax: Axes, noise: np.ndarray, trained: float, clean_share: float = 0.0) -> None:
    """m_+ and m_- against the test noise, the threshold trained at one level, and the window where both are recognised."""
    kappa = float(detector.threshold(1.0, trained, clean_share))
    low, high = detector.working_window(1.0, trained, clean_share)
    ax.axvspan(low, high, color=SHADE, alpha=0.15, linewidth=0, label="both recognised")
    ax.plot(noise, detector.class_mean(1, 1.0, noise), color=PALETTE[0], label="$m_+$")
    ax.plot(noise, detector.class_mean(-1, 1.0, noise), "--", color=PALETTE[1], label="$m_-$")
    ax.axhline(kappa, color=PALETTE[3], linestyle="-.", label=r"threshold $\kappa$")
    ax.axvline(trained, color=GUIDE, linewidth=1, linestyle=":", label=rf"trained at $\sigma={trained:g}$")
    ax.set(xlabel=r"test noise $\sigma'/\mu$", ylabel="mean feature", title="ReLU and pooling", xlim=(0, noise[-1]))
    ax.legend(fontsize=9)
    figures.describe(ax, f"trained at {trained:g}, both classes are recognised for test noise {low:.3g} to {high:.3g}")


def draw_noise_curves(affine: Sequence[tuple[float, xr.DataArray]], pooled: tuple[float, xr.DataArray]) -> Figure:
    """Loss against test noise over training noise: affine logits rise, the detector falls first."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for k, (sigma, curve) in enumerate(affine):
        left.plot(curve.test_sigma / sigma, curve, MARKERS[k] + "-", color=PALETTE[k], label=rf"$\sigma={sigma:g}$")
        figures.describe(
            left, f"trained at {sigma:g}: loss {float(curve[0]):.3g} clean, {float(curve[-1]):.3g} at twice the noise"
        )
    sigma, curve = pooled
    right.plot(curve.test_sigma / sigma, curve, "o-", color=PALETTE[3])
    figures.describe(right, f"trained at {sigma:g}: loss {float(curve[0]):.3g} clean, least {float(curve.min()):.3g}")
    left.legend(fontsize=9)
    for ax, title in ((left, "affine logits, digits"), (right, rf"ReLU and pooling, $\sigma={sigma:g}\,\mu$")):
        ax.set(xlabel="test noise over training noise", ylabel="loss", yscale="log", title=title)
    return figure


def draw_orders(found: Sequence[tuple[str, xr.Dataset, xr.Dataset, str]]) -> Figure:
    """Remainders under halving, one line each: (label, remainders, order, name of the size)."""
    figure, ax = plt.subplots(figsize=(7, 3.8))
    for k, (label, remainders, order, along) in enumerate(found):
        words = f"{label}: order {float(order.limit):.4g} ± {float(order.error):.1g}"
        ax.loglog(remainders[along], remainders.remainder, MARKERS[k] + "-", color=PALETTE[k], label=words)
        figures.describe(ax, words)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks([0.001, 0.01, 0.1], ["0.001", "0.01", "0.1"])
    ax.set(xlabel=r"size ($\varepsilon$ or $\sigma$)", ylabel="remainder", xlim=(0.0009, 0.11))
    ax.legend(fontsize=9)
    return figure


def draw_distances(found: xr.Dataset, error: xr.DataArray, shown: Sequence[str] = ("l2", "trained")) -> Figure:
    """Error against distance, a line per corruption, mean over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4), sharey=True)
    labels = {"l2": r"$\ell_2$ distance", "trained": "feature distance of another seed's network"}
    mean_error = error.mean("seed")
    for ax, measure in zip(axes, shown, strict=True):
        means = found[measure].mean("seed")
        for k, name in enumerate(found.corruption.values):
            style = ("-", "--", ":")[k // len(PALETTE) % 3]
            ax.plot(
                means.sel(corruption=name), mean_error.sel(corruption=name), MARKERS[k % 8] + style,
                color=PALETTE[k % len(PALETTE)], label=_words(name), linewidth=1.2, markersize=4,
            )  # fmt: skip
        ax.set(xlabel=labels[measure])
        figures.describe(
            ax, f"error against {labels[measure]} for {found.sizes['corruption']} corruptions at each severity"
        )
    axes[0].set(ylabel="error of the standard network [%]")
    axes[1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_severities(curves: Sequence[tuple[str, xr.DataArray]]) -> Figure:
    """Mean l2 distance against severity on photograph patches."""
    figure, ax = plt.subplots(figsize=(6.5, 3.6))
    for k, (name, curve) in enumerate(curves):
        means = curve.mean("seed")
        ax.plot(means.severity, means, MARKERS[k] + "-", color=PALETTE[k], label=_words(name))
        figures.describe(
            ax,
            f"{_words(name)}: {float(means[0]):.2f} at severity {int(means.severity[0])}, {float(means[-1]):.2f} at 5",
        )
    ax.set(xlabel="severity", ylabel=r"mean $\ell_2$ distance", xticks=range(1, 6))
    ax.legend(fontsize=9)
    return figure


def draw_noise_losses(compared: Comparison, rules: Sequence[Rule]) -> Figure:
    """Test loss against the test noise, one curve per rule (CIFAR-10)."""
    figure, ax = plt.subplots(figsize=(7.5, 4))
    for k, rule in enumerate(rules):
        curve = compared[rule].noise_loss
        figures.band(ax, curve.test_sigma.values, curve.values, rule.label, color=PALETTE[k], marker=MARKERS[k])
    ax.set(xlabel=r"test noise $\sigma'$", ylabel="mean loss")
    ax.legend(fontsize=9)
    return figure
