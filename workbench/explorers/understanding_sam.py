"""What SAM does to a diagonal linear network: its effective initialisation and the solution it prefers (arXiv:2206.06232)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE
from workbench.problems import SparseRegression, diagonal_network, sparse_regression
from workbench.problems.diagonal_bias import sam_stability_number
from workbench.problems.potential import argmin_phi

N, D, K = 20, 30, 3
GROUP_SIZES = (1, 2, 4, 5, 10, 20)
STEPS, EVERY = 3000, 20
_BLOWUP = 1e6


@dataclass(frozen=True)
class Path:
    """One run: losses (1/2n) sum r^2 at `steps`, the predictor at the end, and log(alpha/alpha_eff) per feature.

    `predicted` is the theorem's rho Delta. All are NaN from the step on at which a run diverged.
    """

    steps: Int[np.ndarray, " record"]
    train_loss: Float[np.ndarray, " record"]
    test_loss: Float[np.ndarray, " record"]
    weights: Float[np.ndarray, "2 feature"]
    decay: Float[np.ndarray, " feature"]
    predicted: Float[np.ndarray, " feature"]

    @property
    def predictor(self) -> Float[np.ndarray, " feature"]:
        """beta = w+^2 - w-^2."""
        return self.weights[0] ** 2 - self.weights[1] ** 2


@dataclass(frozen=True)
class Picture:
    """What the explorer shows for one setting."""

    truth: Float[np.ndarray, " feature"]
    paths: dict[str, Path]
    minimiser: Float[np.ndarray, " feature"]
    alpha: float
    stability: float


def run_path(data: SparseRegression, alpha: float, gamma: float, rho: float, m: int) -> Path:
    """Unnormalised m-SAM on consecutive groups of m samples in its multiplicative form; m = n is n-SAM, rho = 0 descent.

    With g_S = mean_S r x and h_S the same at the displaced weights w+ (1 + rho g_S), w- (1 - rho g_S):
    w+ <- w+ (1 - gamma mean_S h_S (1 + rho g_S)),  w- <- w- (1 + gamma mean_S h_S (1 - rho g_S)).
    In NumPy, whose small arrays are several times faster than tensors: a slider should not lag.
    """
    inputs, targets, test, test_targets = (
        part.numpy() for part in (data.inputs, data.targets, data.test_inputs, data.test_targets)
    )
    groups, goals = inputs.reshape(-1, m, inputs.shape[1]), targets.reshape(-1, m)
    plus, minus = np.full(inputs.shape[1], alpha), np.full(inputs.shape[1], alpha)
    delta, steps, losses = np.zeros_like(plus), np.arange(0, STEPS + 1, EVERY), []
    for step in range(STEPS + 1):
        beta = plus * plus - minus * minus
        if step % EVERY == 0:
            losses.append([0.5 * ((x @ beta - y) ** 2).mean() for x, y in ((inputs, targets), (test, test_targets))])
        if step == STEPS or not np.abs(beta).max() < _BLOWUP:
            break
        own = ((groups @ beta - goals)[:, None] @ groups)[:, 0] / m
        up, down = plus * (1 + rho * own), minus * (1 - rho * own)
        residuals = (groups @ (up * up - down * down)[:, :, None])[:, :, 0] - goals
        displaced = (residuals[:, None] @ groups)[:, 0] / m
        along, rate = displaced.sum(0) / len(groups), (own * displaced).sum(0) / len(groups)
        delta += gamma * rate
        plus, minus = plus * (1 - gamma * (along + rho * rate)), minus * (1 + gamma * (along - rho * rate))
    diverged = step < STEPS
    weights = np.full((2, plus.size), np.nan) if diverged else np.stack([plus, minus])
    table = np.full((len(steps), 2), np.nan)
    table[: len(losses)] = losses
    decay = np.log(alpha / np.sqrt(np.abs(weights[0] * weights[1])))
    predicted = np.full_like(delta, np.nan) if diverged else rho * delta
    return Path(steps, table[:, 0], table[:, 1], weights, decay, predicted)


def compute(alpha: float = 0.05, rho: float = 0.2, m: int = 1, seed: int = 0, gamma_times_d: float = 5.0) -> Picture:
    """3000 steps of gradient descent, n-SAM and m-SAM on n = 20, d = 30, k = 3, and the minimiser of phi at the initialisation
    that the theorem predicts for m-SAM.
    """
    data, gamma = sparse_regression(seed, N, D, K), gamma_times_d / D
    settings = {"GD": (0.0, N), "n-SAM": (rho, N), f"{m}-SAM": (rho, m)}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        paths = {name: run_path(data, alpha, gamma, *setting) for name, setting in settings.items()}
    last = paths[f"{m}-SAM"]
    predicted = torch.as_tensor(alpha * np.exp(-last.predicted))
    known = bool(torch.isfinite(predicted).all() & (predicted > 0).all())
    minimiser = argmin_phi(data.inputs, data.targets, predicted).numpy() if known else np.full(D, np.nan)
    network = diagonal_network(data, alpha)
    stability = sam_stability_number(network, torch.as_tensor(paths["GD"].weights), gamma, rho)
    return Picture(data.truth.numpy(), paths, minimiser, alpha, float(stability))


def _words(picture: Picture) -> str:
    name, path = list(picture.paths.items())[-1]
    lost = [other for other, run in picture.paths.items() if not np.isfinite(run.decay).all()]
    ratio = path.test_loss[-1] / picture.paths["GD"].test_loss[-1]
    parts = [f"1-SAM's stability number on the trained network: {picture.stability:.3g} (stable below 2)"]
    if name not in lost:
        parts.append(f"mean log-decay under {name}: {path.decay.mean():.3g}, predicted {path.predicted.mean():.3g}")
        parts.append(f"test loss over that of GD: {ratio:.3g}")
    if lost:
        parts.append(f"beyond the edge of stability: {', '.join(lost)}")
    return "; ".join(parts) + "."


def draw(figure: Figure, picture: Picture | None = None, **parameters: Any) -> str:
    """Predictor and effective initialisation per feature on the left, losses on the right. Returns the read-out."""
    picture = picture or compute(**parameters)
    panels = figure.subplot_mosaic([["beta", "loss"], ["alpha", "loss"]])
    features, colours = np.arange(1, D + 1), (PALETTE[0], PALETTE[1], PALETTE[2])
    panels["beta"].bar(features, picture.truth, color="0.85", label=r"truth $\beta^*$")
    for (name, path), colour, marker, shift in zip(
        picture.paths.items(), colours, "osD", (-0.25, 0.0, 0.25), strict=True
    ):
        panels["beta"].plot(features + shift, path.predictor, marker, color=colour, markersize=3.5, label=name)
        panels["alpha"].plot(
            features + shift, picture.alpha * np.exp(-path.decay), marker, color=colour, markersize=3.5
        )
        panels["alpha"].plot(features + shift, picture.alpha * np.exp(-path.predicted), "x", color=GUIDE, markersize=4)
        panels["loss"].plot(path.steps[1:], path.test_loss[1:], color=colour, label=f"{name}, test")
        panels["loss"].plot(path.steps[1:], path.train_loss[1:], "--", color=colour, linewidth=1.1)
    panels["beta"].plot(
        features + 0.25, picture.minimiser, "x", color=GUIDE, markersize=4, label=r"$\mathrm{argmin}\,\phi$"
    )
    panels["alpha"].plot([], [], "x", color=GUIDE, label="theorem")
    panels["alpha"].axhline(picture.alpha, color="0.5", linewidth=1, label=r"start $\alpha$")
    panels["loss"].plot([], [], "--", color=GUIDE, linewidth=1.1, label="training")
    panels["beta"].set(xlabel="feature", ylabel=r"predictor $\hat\beta$")
    panels["alpha"].set(xlabel="feature", ylabel=r"$\alpha_\mathrm{eff}$", yscale="log")
    panels["alpha"].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels["alpha"].yaxis.set_major_formatter("{x:g}")
    panels["alpha"].minorticks_off()
    panels["loss"].set(xlabel="step", ylabel=r"loss $\frac{1}{2n}\sum r^2$", xscale="log", yscale="log")
    panels["beta"].legend(ncols=2, fontsize=8)
    panels["alpha"].legend(fontsize=8, loc="lower right")
    panels["loss"].legend(fontsize=8)
    return _words(picture)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the initialisation, radius, group size, seed and step size."""
    start: dict[str, Any] = {"alpha": 0.05, "rho": 0.2, "m": 1, "seed": 0, "gamma_times_d": 5.0} | initial
    controls = [
        Control("alpha", "initialisation alpha", start["alpha"], 0.005, 1.0, kind="log", meaning="w+ = w- = alpha"),
        Control("rho", "radius rho", start["rho"], 0.005, 2.0, kind="log", meaning="radius of n-SAM and m-SAM"),
        Control("m", "samples per group m", start["m"], kind="choice", choices=GROUP_SIZES),
        Control("seed", "seed", start["seed"], 0, 19, kind="int", meaning="of the data"),
        Control("gamma_times_d", "step size times d", start["gamma_times_d"], 1.0, 15.0, 0.5),
    ]
    return Explorer("What SAM does to a diagonal linear network", controls, draw, (10.0, 5.6))
