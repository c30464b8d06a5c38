"""One data set of the multi-task problem: singular values and errors of every method while sizes and noise move."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import round_up, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.trace_norm_multitask import rivals
from workbench.papers.trace_norm_multitask.data import multitask_data
from workbench.papers.trace_norm_multitask.trace_norm import TraceNormFit, theory_lambda, trace_norm_fit

D, R, SHOWN, _WIDEST = 40, 3, 12, 4.0
METHODS = ("single", "ridge", "moments", "trace norm", "refit", "oracle")


@dataclass(frozen=True, eq=False)
class Picture:
    """Leading singular values over sqrt T of truth and estimate, the errors of all methods, and the fit with its certificate."""

    truth: Float[np.ndarray, " index"]
    estimate: Float[np.ndarray, " index"]
    errors: dict[str, float]
    fit: TraceNormFit
    sine: float


@functools.lru_cache(maxsize=64)
def compute(T: int = 200, m: int = 12, sigma: float = 1.0, lam_scale: float = 1.0, seed0: int = 0) -> Picture:
    """All methods on one data set of T tasks of m samples, d = 40 and r = 3, with lam_scale times the theory's penalty."""
    data = multitask_data(T, m, D, R, sigma, seed=seed0)
    fit = trace_norm_fit(data, lam_scale * theory_lambda(T, m, D, sigma), max_iter=5000)
    learned = rivals.top_subspace(fit.weights, R)
    fits = (
        rivals.single(data),
        rivals.best_ridge(data),
        rivals.refit(data, rivals.mom_subspace(data, R)),
        fit.weights,
        rivals.refit(data, learned),
        rivals.oracle(data),
    )
    truth, estimate = (
        torch.linalg.svdvals(matrix)[:SHOWN].numpy() / np.sqrt(T) for matrix in (data.weights, fit.weights)
    )
    errors = {name: rivals.error(one, data) for name, one in zip(METHODS, fits, strict=True)}
    return Picture(truth, estimate, errors, fit, rivals.sine_distance(data.subspace, learned))


class Panels:
    """Singular values of estimate and truth on the left, errors of the methods on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        left, right = figure.add_axes((0.08, 0.16, 0.38, 0.76)), figure.add_axes((0.6, 0.16, 0.38, 0.76))
        self._left = left
        (self._truth,) = left.plot([], [], "s", color=GUIDE, markersize=6, label="truth")
        (self._estimate,) = left.plot([], [], "o", color=PALETTE[0], markersize=5, label="estimate")
        left.set(xlim=(0, SHOWN + 1), xlabel="index", ylabel="singular value over $\\sqrt{T}$")
        left.legend(loc="upper right", framealpha=1)
        self._bars = right.barh(range(len(METHODS)), [1.0] * len(METHODS), color=PALETTE[: len(METHODS)])
        right.set_yticks(range(len(METHODS)), METHODS)
        right.set(xlim=(0, _WIDEST), xlabel="error $|W-W^*|_F/\\sqrt{T}$ (up to 4)")
        right.invert_yaxis()
        self.moving = (self._truth, self._estimate, *self._bars)

    def update(self, **parameters: Any) -> str:
        found = compute(**parameters)
        for points, values in ((self._truth, found.truth), (self._estimate, found.estimate)):
            points.set_data(np.arange(1, len(values) + 1), values)
        set_limits(self._left, y=(0, round_up(1.05 * float(max(found.truth.max(), found.estimate.max())))))
        for bar, error in zip(self._bars, found.errors.values(), strict=True):
            bar.set_width(min(error, _WIDEST))
        words = ", ".join(f"{name} {found.errors[name]:.3g}" for name in ("ridge", "moments", "oracle"))
        return (
            f"Error {found.errors['trace norm']:.3g} ({words}); rank {found.fit.rank}, sine distance {found.sine:.3g}, "
            f"duality gap {found.fit.gap:.1e}."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for tasks, samples a task, noise, penalty and the data set; the last three are parameters of the card."""
    start = {"T": 200, "m": 12, "sigma": 1.0, "lam_scale": 1.0, "seed0": 0} | initial
    controls = [
        Control("T", "tasks T", start["T"], 20, 800, 20, kind="int", meaning="number of tasks"),
        Control("m", "samples m", start["m"], R, 30, 1, kind="int", meaning="samples a task"),
        Control("sigma", "noise", start["sigma"], 0.05, 2.0, kind="log", meaning="standard deviation of the noise"),
        Control("lam_scale", "penalty", start["lam_scale"], 0.1, 10.0, kind="log", meaning="lambda over the theory's"),
        Control("seed0", "data set", start["seed0"], 0, 1_000_000, 1, kind="int", meaning="seed of the data"),
    ]
    return Explorer("Tasks that share a subspace", controls, Panels, (9.0, 3.6), paper="trace-norm-multitask")
