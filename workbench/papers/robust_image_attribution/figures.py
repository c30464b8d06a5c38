"""The paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbench import figures
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.robust_image_attribution.comparison import Arms, Battles, Comparison
from workbench.papers.robust_image_attribution.contrastive import Arm
from workbench.papers.robust_image_attribution.evasion import Attack, margin
from workbench.problems import attacks

MARKERS = "os^D"
STYLES = ("-", "--", "-.", ":")
RIGHT, WRONG = PALETTE[0], PALETTE[3]


def draw_strip(compared: Comparison, arms: Arms, battles: Battles, shown: int = 8) -> Figure:
    """Original, edited query, query attacked for the standard fingerprint and its match, the same for the robust one.

    Framed solid where the match is the own original, dashed where it is another. The first queries of the first seed.
    """
    chosen = torch.arange(shown)
    columns: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for arm in (arms.standard, arms.robust):
        trial, found, match = matches(compared, arm, battles.margin)
        columns[arm.label] = (found[0], match[0])
    originals = trial.originals if trial.originals.dim() == 4 else trial.originals[0]
    edited = trial.edited if trial.edited.dim() == 4 else trial.edited[0]
    pictures = [originals[chosen], edited[chosen]]
    rows = ["original", "edited query"]
    for label, (found, match) in columns.items():
        pictures += [found[chosen], originals[match[chosen]]]
        rows += [f"attacked, {label.split()[0]}", "its match"]
    figure, ax = plt.subplots(figsize=(9, 6.2))
    figures.image_strip(ax, torch.stack(pictures).clamp(0, 1).cpu().numpy(), rows=rows)
    side, gap = originals.shape[-1], max(1, round(0.06 * originals.shape[-1]))
    lost = []
    for row, match in ((3, columns[arms.standard.label][1]), (5, columns[arms.robust.label][1])):
        right = (match[chosen] == chosen).tolist()
        lost.append(len(right) - sum(right))
        for column, own in enumerate(right):
            corner = column * (side + gap) - 0.5, row * (side + gap) - 0.5
            ax.add_patch(
                Rectangle(
                    corner, side, side, fill=False, linewidth=3, edgecolor=RIGHT if own else WRONG,
                    linestyle="-" if own else (0, (2, 1)), clip_on=False,
                )
            )  # fmt: skip
    figures.describe(
        ax,
        f"of {len(chosen)} attacked queries the standard fingerprint matches {lost[0]} to a wrong original, the robust "
        f"one {lost[1]}",
    )
    return figure


def matches(compared: Comparison, arm: Arm, attack: Attack):
    """The first trial, its attacked queries, and the rows that they are matched to."""
    embed, trial = compared.networks(arm).trials[0]
    with torch.no_grad():
        database = embed(trial.originals[..., : compared.database, :, :, :])
    keys = database[..., : trial.edited.shape[-4], :]
    objective = margin(embed, keys, database, trial.own)
    found = attacks.pgd(objective, trial.edited, attack.radius, attack.norm, steps=attack.steps).inputs
    with torch.no_grad():
        match = (embed(found) @ database.mT).argmax(-1)
    if trial.edited.dim() == 4:
        return trial, found[None], match[None]
    return trial, found, match


def draw_radii(compared: Comparison, arms: Mapping[str, Arm], battles: Battles, radii: Sequence[float]) -> Figure:
    """Recall against the attack's radius, one band per arm; random signs dashed; the judged radius marked."""
    figure, ax = plt.subplots(figsize=(7.5, 4.2))
    for k, (name, arm) in enumerate(arms.items()):
        recalls = [compared.recall(arm, battles.at(radius) if radius else battles.unattacked) for radius in radii]
        figures.band(
            ax, np.array(radii), np.stack(recalls, 1), f"{name}, attacked", color=PALETTE[k], marker=MARKERS[k]
        )
    signs = [battles.unattacked, battles.signs, battles.signs_twice]
    blind = [compared.recall(arms["standard"], one) for one in signs]
    sizes = np.array([0.0, battles.signs.radius, battles.signs_twice.radius])
    figures.band(ax, sizes, np.stack(blind, 1), "standard, random signs", color=GUIDE, linestyle="--", marker="x")
    ax.axvline(battles.margin.radius, color=GUIDE, linewidth=1, linestyle=":")
    ax.set(xlabel=r"attack radius, $\ell_\infty$", ylabel="recall of edited queries [%]", ylim=(0, 100))
    ax.legend(fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def draw_ladder(compared: Comparison, arms: Sequence[Arm], ladder: Mapping[str, Attack]) -> Figure:
    """Recall under attacks of growing strength, intervals over seeds."""
    figure, ax = plt.subplots(figsize=(8.5, 3.9))
    places = np.arange(len(ladder))
    for k, arm in enumerate(arms):
        middle, low, high = _intervals([compared.recall(arm, attack) for attack in ladder.values()])
        ax.errorbar(
            middle, places + 0.16 * (k - 0.5), xerr=[middle - low, high - middle], fmt=MARKERS[k], color=PALETTE[2 * k],
            capsize=3, label=arm.label,
        )  # fmt: skip
        figures.describe(ax, f"{arm.label}: " + ", ".join(f"{n} {m:.1f}" for n, m in zip(ladder, middle, strict=True)))
    ax.set_yticks(places, list(ladder))
    ax.invert_yaxis()
    ax.set(xlabel="recall of edited queries [%]", xlim=(0, 100))
    ax.legend(fontsize=9)
    return figure


def draw_kinds(compared: Comparison, arms: Mapping[str, Arm], kinds: Mapping[str, Attack]) -> Figure:
    """Recall by kind of perturbation, one bar per arm."""
    figure, ax = plt.subplots(figsize=(9, 3.8))
    places, width = np.arange(len(kinds)), 0.8 / len(arms)
    for k, (name, arm) in enumerate(arms.items()):
        middle, low, high = _intervals([compared.recall(arm, attack) for attack in kinds.values()])
        shift = width * (k - (len(arms) - 1) / 2)
        ax.bar(places + shift, middle, width, color=PALETTE[k], hatch=("", "//", "..")[k % 3], label=name)
        ax.errorbar(places + shift, middle, yerr=[middle - low, high - middle], fmt="none", color=GUIDE, capsize=2)
        figures.describe(ax, f"{name}: " + ", ".join(f"{n} {m:.1f}" for n, m in zip(kinds, middle, strict=True)))
    ax.set_xticks(places, list(kinds), fontsize=9)
    ax.set(ylabel="recall [%]", ylim=(0, 100))
    ax.legend(fontsize=9, ncols=len(arms), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def draw_databases(compared: Comparison, arms: Mapping[str, Arm], battles: Battles, sizes: Sequence[int]) -> Figure:
    """Recall against the size of the database: attacked with the attack re-aimed, and unattacked (open)."""
    figure, ax = plt.subplots(figsize=(7, 4))
    ordered = np.array(sorted(sizes))
    for k, (name, arm) in enumerate(arms.items()):
        attacked = [compared.recall(arm, battles.grown(int(size))) for size in ordered]
        figures.band(ax, ordered, np.stack(attacked, 1), f"{name}, attacked", color=PALETTE[k], marker=MARKERS[k])
        clean = [compared.recall(arm, Attack(database=int(size))) for size in ordered]
        means = np.stack(clean, 1).mean(0)
        ax.plot(
            ordered, means, "--" + MARKERS[k], color=PALETTE[k], markerfacecolor="white", label=f"{name}, unattacked"
        )
        figures.describe(ax, f"{name}, unattacked: {means[0]:.1f} to {means[-1]:.1f}")
    ax.set(xscale="log", xlabel="pictures in the database", ylabel="recall of edited queries [%]", ylim=(0, 100))
    ax.set_xticks(ordered, [str(size) for size in ordered])
    ax.minorticks_off()
    ax.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def draw_linear(curves: xr.Dataset, gap: xr.DataArray) -> Figure:
    """The exact recall of the linear fingerprint against the radius, attacks above it, and the gap with its interval."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9), width_ratios=(3, 2))
    names = {"exact": "exact", "pgd": "20 sign steps", "targets": "one step at each of 20", "away": "away, 20 steps"}
    for k, (key, label) in enumerate((key, label) for key, label in names.items() if key in curves):
        means = 100 * curves[key].mean("seed")
        left.plot(
            curves.radius, means, STYLES[k % 4], color=PALETTE[k], label=label, linewidth=2 if key == "exact" else 1.5,
            marker="" if key == "exact" else MARKERS[k], markersize=5, markerfacecolor="none",
        )  # fmt: skip
        points = ", ".join(f"{float(m):.0f} % at {float(r):g}" for r, m in zip(curves.radius, means, strict=True))
        figures.describe(left, f"{label}: {points}")
    left.set(xlabel=r"attack radius, $\ell_\infty$", ylabel="recall [%]", ylim=(0, 102))
    left.legend(fontsize=9)
    middle, low, high = figures.interval(100 * gap.values)
    right.errorbar(gap.radius, middle, yerr=[middle - low, high - middle], fmt="o-", color=PALETTE[1], capsize=3)
    right.axhline(0, color=GUIDE, linewidth=1)
    right.set(
        xlabel=r"attack radius, $\ell_\infty$", ylabel="overstated recall [pp]", title="20 sign steps minus exact"
    )
    figures.describe(
        right, "overstated by " + ", ".join(f"{m:.1f} at {float(r):g}" for r, m in zip(gap.radius, middle, strict=True))
    )
    return figure


def draw_comparators(found: Mapping[str, xr.Dataset]) -> Figure:
    """Accuracy of comparators against the radius, attacked and under random signs; P(edited) of attacked edits."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), width_ratios=(3, 2))
    for k, (name, one) in enumerate(found.items()):
        figures.band(
            left, one.radius.values, one.attacked.values, f"{name}, attacked", color=PALETTE[k], marker=MARKERS[k]
        )
        left.plot(
            one.radius, one.signs.mean("seed"), "--", color=PALETTE[k], marker=MARKERS[k], markerfacecolor="white",
            label=f"{name}, random signs",
        )  # fmt: skip
        figures.band(right, one.radius.values, one.probability.values, name, color=PALETTE[k], marker=MARKERS[k])
    left.axhline(50, color=GUIDE, linewidth=1, linestyle=":")
    left.set(xlabel=r"attack radius, $\ell_\infty$", ylabel="accuracy [%]", ylim=(0, 100))
    right.set(xlabel=r"attack radius, $\ell_\infty$", ylabel="mean P(edited) of edits [%]", ylim=(0, 100))
    left.legend(fontsize=8, loc="lower left")
    right.legend(fontsize=9, loc="lower left")
    return figure


def _intervals(samples: Sequence[xr.DataArray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    middle, low, high = (
        np.array(part) for part in zip(*(figures.interval(one.values) for one in samples), strict=True)
    )
    return middle, low, high
