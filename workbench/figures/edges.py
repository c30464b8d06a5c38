"""Sharpness along training against the edge of stability of the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.values import numbers, set_labels
from workbench.figures.words import describe


def edge_of_stability(ax: Axes, dataset: Any, name: str | None = None) -> Axes:
    """The largest eigenvalues along one run as lines, and the threshold above which the rule is unstable as a dashed one.

    Args:
        dataset: of one run, with `name`, `name_threshold` and (drawn as a shade) `name_residual` over `step`, as
            `wb.run(..., record=["preconditioned_sharpness"]).dataset()` and `wb.Watch.dataset()` give it; of a sweep
            select a run first.
        name: which eigenvalues; by default those that have a threshold.

    Raises:
        ValueError: no such variable, or other dimensions than `step` and `eigenvalue`.

    Example:
        `edge_of_stability(ax, run.dataset())`
    """
    name = name or _only(dataset)
    if name not in dataset:
        raise ValueError(f"no variable {name!r}; the dataset has {', '.join(map(str, dataset.data_vars))}")
    values = dataset[name]
    if "step" not in values.dims or set(values.dims) - {"step", "eigenvalue"}:
        raise ValueError(
            f"{name} must have the dimensions step (and eigenvalue), it has {list(values.dims)}: select one run"
        )
    values = values if "eigenvalue" in values.dims else values.expand_dims("eigenvalue")
    steps, lines = numbers(values["step"]), numbers(values.transpose("eigenvalue", "step"))
    residual = f"{name}_residual"
    off = np.zeros_like(lines)
    if residual in dataset:
        off = numbers(dataset[residual].transpose("eigenvalue", "step", missing_dims="ignore")).reshape(lines.shape)
    for i, (line, far) in enumerate(zip(lines, off, strict=True)):
        label = "largest eigenvalue" if i == 0 else ("next ones" if i == 1 else None)
        ax.plot(
            steps, line, color=PALETTE[0], alpha=1.0 if i == 0 else 0.45, linewidth=1.6 if i == 0 else 1.0, label=label
        )
        if i == 0:
            ax.fill_between(steps, line - far, line + far, color=PALETTE[0], alpha=0.2, linewidth=0)
    threshold = f"{name}_threshold"
    words = f"the largest eigenvalue goes from {lines[0][0]:.3g} to {lines[0][-1]:.3g} in {steps[-1]:g} steps"
    if threshold in dataset:
        limit = numbers(dataset[threshold])
        ax.plot(steps, limit, color=GUIDE, linestyle="--", linewidth=1.4, label="edge of stability")
        ratio = lines[0] / limit
        last = float(np.median(ratio[-max(1, len(ratio) // 4) :]))
        crossed = np.flatnonzero(ratio >= 1)
        reached = f"first above it at step {steps[crossed[0]]:g}" if len(crossed) else "never above it"
        words += f", the edge of stability from {limit[0]:.3g} to {limit[-1]:.3g}; {reached}, "
        words += f"over the last quarter at {last:.2f} of it"
    finite = lines[0][np.isfinite(lines[0]) & (lines[0] > 0)]
    # Adam's first steps, whose second moment is still small, would press all others to the axis.
    if len(finite) == len(lines[0]) and finite.max() > 8 * np.median(finite):
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=min(0.0, float(np.nanmin(lines))))
    describe(ax, words)
    ax.legend(loc="best")
    set_labels(ax, "step", str(values.attrs.get("long_name", name)))
    return ax


def _only(dataset: Any) -> str:
    found = [str(name).removesuffix("_threshold") for name in dataset.data_vars if str(name).endswith("_threshold")]
    if len(found) != 1:
        raise ValueError(
            f"the dataset has {len(found)} eigenvalues with a threshold; say which: name= one of "
            f"{', '.join(map(str, dataset.data_vars))}"
        )
    return found[0]
