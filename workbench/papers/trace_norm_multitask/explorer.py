"""One data set of the multi-task problem: singular values and errors of every method while sizes and noise move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE
from workbench.papers.trace_norm_multitask import rivals
from workbench.papers.trace_norm_multitask.data import multitask_data
from workbench.papers.trace_norm_multitask.trace_norm import theory_lambda, trace_norm_fit

D, R = 40, 3


def draw(figure: Figure, T: int, m: int, sigma: float, lam_scale: float, seed0: int) -> str:
    """Singular values of estimate and truth on the left, errors of the methods on the right; returns the read-out."""
    data = multitask_data(T, m, D, R, sigma, seed=seed0)
    fit = trace_norm_fit(data, lam_scale * theory_lambda(T, m, D, sigma), tol=1e-6)
    errors = {
        "ridge": rivals.error(rivals.best_ridge(data), data),
        "moments": rivals.error(rivals.refit(data, rivals.mom_subspace(data, R)), data),
        "trace norm": rivals.error(fit.weights, data),
        "refit": rivals.error(rivals.refit(data, rivals.top_subspace(fit.weights, R)), data),
        "oracle": rivals.error(rivals.oracle(data), data),
    }
    left, right = figure.subplots(1, 2)
    for matrix, name, colour, style in (
        (data.weights, "truth", GUIDE, "s"),
        (fit.weights, "estimate", PALETTE[0], "o"),
    ):
        values = torch.linalg.svdvals(matrix)[:12].numpy() / np.sqrt(T)
        left.plot(np.arange(1, len(values) + 1), values, style, color=colour, label=name, markersize=5)
    left.set(xlabel="index", ylabel="singular value over $\\sqrt{T}$", ylim=(0, None))
    left.legend()
    right.barh(list(errors), list(errors.values()), color=PALETTE[: len(errors)])
    right.set(xlabel="error $|W-W^*|_F/\\sqrt{T}$", xlim=(0, min(4.0, 1.1 * max(errors.values()))))
    right.invert_yaxis()
    sine = rivals.sine_distance(data.subspace, rivals.top_subspace(fit.weights, R))
    return (
        f"Error {errors['trace norm']:.3g} (ridge {errors['ridge']:.3g}, moments {errors['moments']:.3g}, "
        f"oracle {errors['oracle']:.3g}); rank {fit.rank}, sine distance {sine:.3g}, duality gap {fit.gap:.1e}."
    )


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
    return Explorer("Tasks that share a subspace", controls, draw, (9.0, 3.6), paper="trace-norm-multitask")
