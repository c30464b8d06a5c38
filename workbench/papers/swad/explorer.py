"""SWAD's window on six runs, one per domain left out (arXiv:2102.08604): move its three numbers, see what is averaged."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.data.preparing.domains import ANGLES
from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import round_up, set_limits
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE, SHADE
from workbench.optimizers.adam import adam
from workbench.papers.swad.rotated_digits import N_DOMAINS, LeftOutDigits, left_out_digits
from workbench.papers.swad.weight_averages import Trajectory, combined, metrics_of, trajectory, valley

BATCH = 8 * (N_DOMAINS - 1)
DOMAINS = tuple(f"{angle:g}°" for angle in ANGLES)


@dataclass(frozen=True)
class Picture:
    """What the explorer shows. Accuracies in percent; `window` as indices of evaluations."""

    steps: Float[np.ndarray, " evaluation"]
    losses: Float[np.ndarray, " evaluation"]
    accuracies: Float[np.ndarray, " evaluation"]
    window: tuple[int, int]
    threshold: float
    converged: bool
    closed: bool
    averaged: float
    chosen: int


def trained(
    seed: int = 0, label_noise: float = 0.1, steps: int = 1500, every: int = 25, step_size: float = 2e-2
) -> tuple[tuple[LeftOutDigits, Trajectory], ...]:
    """The problem and the run of every domain left out, trained at once and kept; minibatches of 8 from each source."""
    return _trained(seed, label_noise, steps, every, step_size)


@functools.lru_cache(maxsize=4)
def _trained(
    seed: int, label_noise: float, steps: int, every: int, step_size: float
) -> tuple[tuple[LeftOutDigits, Trajectory], ...]:
    problems = [left_out_digits(seed, target, label_noise=label_noise) for target in range(N_DOMAINS)]
    names = ("metrics", "checkpoints", "segments", "ema")
    kept: dict[str, Any] = {}

    def train(target: torch.Tensor) -> dict[str, torch.Tensor]:
        problem = left_out_digits(seed, target, label_noise=label_noise)
        path = trajectory(
            problem, adam(step_size), seed=seed, steps=steps, every=every, batch_size=BATCH, ema_decay=None
        )
        kept["steps"] = path.steps
        return {name: getattr(path, name) for name in names}

    values = torch.func.vmap(train)(torch.arange(N_DOMAINS))
    like = problems[0].initial(seed)
    return tuple(
        (problem, Trajectory(kept["steps"], *(values[name][target] for name in names), like=like))
        for target, problem in enumerate(problems)
    )


def compute(
    target: str = DOMAINS[0], n_converge: int = 3, n_tolerance: int = 6, tolerance: float = 1.2, **training: Any
) -> Picture:
    """Window and accuracy of the mean over it, for the run with the domain `target` ("0°", ..., "75°") left out."""
    if target not in DOMAINS:
        raise ValueError(f"target must be one of {', '.join(DOMAINS)}, got {target!r}")
    problem, path = trained(**training)[DOMAINS.index(target)]
    window = valley(path, n_converge, n_tolerance, tolerance)
    averaged = metrics_of(problem, path, combined(window.weights, path.segments))[3]
    return Picture(
        np.array(path.steps) - 1, path.losses.numpy(), 100 * path.metrics[:, 3].numpy(),
        (int(window.start), int(window.end)), float(window.threshold), bool(window.converged), bool(window.closed),
        100 * float(averaged), int(path.accuracies.argmax()),
    )  # fmt: skip


class Panels:
    """Validation loss with window and threshold on the left, target accuracy on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        left, right = figure.add_axes((0.085, 0.14, 0.39, 0.77)), figure.add_axes((0.565, 0.14, 0.42, 0.77))
        self._left, self._right = left, right
        self._windows = [ax.axvspan(0, 1, color=SHADE, alpha=0.15, linewidth=0, label="window") for ax in (left, right)]
        (self._losses,) = left.plot([], [], color=PALETTE[0], label="validation loss")
        self._threshold = left.axhline(0, color=GUIDE, linestyle="--", linewidth=1.2, label="threshold")
        left.set(ylabel="loss on the sources", title="the window", xlabel="step")
        (self._accuracies,) = right.plot([], [], color=PALETTE[1], linewidth=1.2, label="checkpoints")
        (self._chosen,) = right.plot(
            [], [], "D", color=PALETTE[0], markeredgecolor="white", markersize=8, label="chosen by validation"
        )
        (self._averaged,) = right.plot([], [], color=SHADE, linewidth=2.6, label="SWAD")
        right.set(ylabel="target accuracy [%]", title="the domain left out", xlabel="step")
        for ax in (left, right):
            ax.legend(loc="lower right", framealpha=1, fancybox=False)
        self.moving = (
            *self._windows, self._threshold, self._losses, self._accuracies, self._averaged, self._chosen,
        )  # fmt: skip

    def update(self, **parameters: Any) -> str:
        picture = compute(**parameters)
        steps, accuracies, chosen = picture.steps, picture.accuracies, picture.chosen
        first, last = (float(steps[index]) for index in picture.window)
        highest = max(1.15 * picture.threshold if picture.converged else 0.0, 1.6 * float(picture.losses.min()))
        ends = (0.0, round_up(float(steps[-1])))
        set_limits(self._left, x=ends, y=(0, round_up(highest)))
        set_limits(
            self._right, x=ends, y=(10 * math.floor(accuracies.min() / 10), 10 * math.ceil(accuracies.max() / 10))
        )
        for window in self._windows:
            window.set(x=first, width=last - first)
        self._losses.set_data(steps, picture.losses)
        self._threshold.set_ydata([picture.threshold] * 2)
        self._threshold.set_visible(picture.converged)
        self._accuracies.set_data(steps, accuracies)
        self._chosen.set_data([steps[chosen]], [accuracies[chosen]])
        self._averaged.set_data([first, last], [picture.averaged] * 2)
        state = "closed" if picture.closed else "still open at the end" if picture.converged else "never converged"
        return (
            f"window: evaluations {picture.window[0]} to {picture.window[1]} of {len(steps) - 1} ({state}); target "
            f"accuracy: SWAD {picture.averaged:.1f} %, chosen checkpoint {accuracies[chosen]:.1f} %, "
            f"last {accuracies[-1]:.1f} %"
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for N_s, N_e and r, a menu for the domain left out."""
    start = {"target": DOMAINS[1], "n_converge": 3, "n_tolerance": 6, "tolerance": 1.2} | initial
    controls = [
        Control(
            "target", "left out", start["target"], kind="choice", choices=DOMAINS, meaning="rotation of the target"
        ),
        Control(
            "n_converge",
            "until converged N_s",
            start["n_converge"],
            1,
            8,
            1,
            kind="int",
            meaning="evaluations until converged",
        ),
        Control(
            "n_tolerance",
            "until overfit N_e",
            start["n_tolerance"],
            1,
            12,
            1,
            kind="int",
            meaning="evaluations until overfit",
        ),
        Control(
            "tolerance", "tolerance r", start["tolerance"], 1.02, 2.0, 0.02, meaning="threshold over the converged loss"
        ),
    ]
    return Explorer("What SWAD averages", controls, Panels, paper="swad")
