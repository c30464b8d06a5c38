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
from workbench.explorers.scene import decades, round_up, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.problems import SparseRegression, diagonal_network, sparse_regression
from workbench.problems.factorised.diagonal_bias import sam_stability_number
from workbench.problems.factorised.diagonal_potential import argmin_phi

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


def run_paths(data: SparseRegression, alpha: float, gamma: float, rho: float, m: int) -> dict[str, Path]:
    """Gradient descent, n-SAM and m-SAM (consecutive groups S of m samples; all unnormalised) in multiplicative form.

    With g_S = mean_S r x, h_S the same at the displaced weights w+ (1 + rho g_S), w- (1 - rho g_S), whose predictor is
    beta + rho g_S (2 (w+^2 + w-^2) + rho g_S beta):
    w+ <- w+ (1 - gamma mean_S h_S (1 + rho g_S)),  w- <- w- (1 + gamma mean_S h_S (1 - rho g_S)).
    In NumPy, whose small arrays are several times faster than tensors, and all groups of all methods as rows of the same
    few matrix products: a slider should not lag. Gradient descent is one group with rho = 0, n-SAM one with rho.
    """
    inputs, targets, test, test_targets = (
        part.numpy() for part in (data.inputs, data.targets, data.test_inputs, data.test_targets)
    )
    n, groups = len(targets), len(targets) // m
    method, first = np.array([0, 1] + [2] * groups), [0, 1, 2]
    member = np.concatenate([np.ones((2, n)), np.kron(np.eye(groups), np.ones(m))])
    climb = member * np.array([0.0, rho / n] + [rho / m] * groups)[:, None]
    descend = member * (gamma / n)
    weights = np.full((2, 3, inputs.shape[1]), alpha)
    predicted, steps = np.zeros(weights.shape[1:]), np.arange(0, STEPS + 1, EVERY)
    losses = np.full((2, 3, len(steps)), np.nan)
    for step in range(STEPS + 1):
        squares = weights * weights
        beta, spread = squares[0] - squares[1], squares[0] + squares[1]
        if step % EVERY == 0:
            lost = ~(np.abs(beta).max(1) < _BLOWUP)
            weights[:, lost] = beta[lost] = np.nan
            for kept, x, y in zip(losses, (inputs, test), (targets, test_targets), strict=True):
                kept[:, step // EVERY] = 0.5 * ((beta @ x.T - y) ** 2).mean(1)
        if step == STEPS:
            break
        ascents = (climb * (beta @ inputs.T - targets).take(method, 0)) @ inputs
        # `take` is what indexing does, in half the time.
        own = beta.take(method, 0)
        displaced = own + ascents * ((2 * spread).take(method, 0) + ascents * own)
        gradients = (descend * (displaced @ inputs.T - targets)) @ inputs
        along, across = np.add.reduceat(gradients, first), np.add.reduceat(ascents * gradients, first)
        predicted += across
        weights[0] *= 1 - across - along
        weights[1] *= 1 - across + along
    decay = np.log(alpha / np.sqrt(np.abs(weights[0] * weights[1])))
    predicted[np.isnan(decay)] = np.nan
    return {
        name: Path(steps, losses[0, index], losses[1, index], weights[:, index], decay[index], predicted[index])
        for index, name in enumerate(("GD", "n-SAM", f"{m}-SAM"))
    }


def compute(alpha: float = 0.05, rho: float = 0.2, m: int = 1, seed: int = 0, gamma_times_d: float = 5.0) -> Picture:
    """3000 steps of gradient descent, n-SAM and m-SAM on n = 20, d = 30, k = 3, and the minimiser of phi at the initialisation
    that the theorem predicts for m-SAM.
    """
    data, gamma = sparse_regression(seed, N, D, K), gamma_times_d / D
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        paths = run_paths(data, alpha, gamma, rho, m)
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
    parts = []
    if np.isfinite(picture.stability):
        parts.append(f"1-SAM's stability number on the trained network: {picture.stability:.3g} (stable below 2)")
    if name not in lost:
        parts.append(f"mean log-decay under {name}: {path.decay.mean():.3g}, predicted {path.predicted.mean():.3g}")
        parts.append(f"test loss over that of GD: {ratio:.3g}")
    if lost:
        parts.append(f"beyond the edge of stability: {', '.join(lost)}")
    return "; ".join(parts) + "."


class Panels:
    """Predictor and effective initialisation per feature on the left, losses on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        beta, alpha, loss = (figure.add_axes(place) for place in _PLACES)
        self._axes, features, none = (beta, alpha, loss), np.arange(1, D + 1), np.full(D, np.nan)
        self._truth = beta.vlines(features, 0, 0, color="0.85", linewidth=6, label=r"truth $\beta^*$")
        self._predictors, self._decays, self._test, self._train = [], [], [], []
        for shift, colour, marker in zip(_SHIFTS, PALETTE, "osD", strict=False):
            look = {"marker": marker, "color": colour, "markersize": 3.5, "linestyle": "none"}
            self._predictors += beta.plot(features + shift, none, label=" ", **look)
            self._decays += alpha.plot(features + shift, none, **look)
            self._train += loss.plot([], [], "--", color=colour, linewidth=1.1)
            self._test += loss.plot([], [], color=colour, label=" ")
        cross = {"marker": "x", "color": GUIDE, "markersize": 4, "linestyle": "none"}
        (self._minimiser,) = beta.plot(features + _SHIFTS[2], none, label=r"$\mathrm{argmin}\,\phi$", **cross)
        places = np.concatenate([features + shift for shift in _SHIFTS])
        (self._predicted,) = alpha.plot(places, np.full(3 * D, np.nan), label="theorem", **cross)
        self._start = alpha.axhline(1, color="0.5", linewidth=1, label=r"start $\alpha$")
        loss.plot([], [], "--", color=GUIDE, linewidth=1.1, label="training")
        beta.set(xlabel="feature", ylabel=r"predictor $\hat\beta$", xlim=(0, D + 1))
        alpha.set(xlabel="feature", ylabel=r"$\alpha_\mathrm{eff}$", yscale="log", xlim=(0, D + 1))
        alpha.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        alpha.yaxis.set_major_formatter("{x:g}")
        alpha.minorticks_off()
        loss.set(xlabel="step", ylabel=r"loss $\frac{1}{2n}\sum r^2$", xscale="log", yscale="log")
        set_limits(loss, x=(EVERY, STEPS))
        loss.minorticks_off()
        # Above the panels, where they hide nothing.
        above: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1.02, 0.99),
            "fontsize": 8.5,
            "frameon": False,
        }
        legends = [
            axes.legend(**above, ncols=6, columnspacing=1.0, handletextpad=0.3, handlelength=1.6) for axes in self._axes
        ]
        self._labels = legends[0].get_texts()[1:4], legends[2].get_texts()[:3]
        self.moving = (
            self._truth, *self._predictors, self._minimiser, self._start, *self._decays, self._predicted, *self._train,
            *self._test,
        )  # fmt: skip

    def update(self, picture: Picture | None = None, **parameters: Any) -> str:
        picture = picture or compute(**parameters)
        beta, alpha, loss = self._axes
        features, paths = np.arange(1, D + 1), list(picture.paths.values())
        feet = np.stack([features, np.zeros(D)], axis=1)
        self._truth.set_segments(list(np.stack([feet, np.stack([features, picture.truth], axis=1)], axis=1)))
        for index, path in enumerate(paths):
            self._predictors[index].set_ydata(path.predictor)
            self._decays[index].set_ydata(picture.alpha * np.exp(-path.decay))
            self._test[index].set_data(path.steps[1:], path.test_loss[1:])
            self._train[index].set_data(path.steps[1:], path.train_loss[1:])
        self._minimiser.set_ydata(picture.minimiser)
        predicted = picture.alpha * np.exp(-np.concatenate([path.predicted for path in paths]))
        self._predicted.set_ydata(predicted)
        self._start.set_ydata([picture.alpha] * 2)
        for labels in self._labels:
            for label, name in zip(labels, picture.paths, strict=True):
                label.set_text(name)
        values = np.concatenate([picture.truth, picture.minimiser, *(path.predictor for path in paths)])
        low, high = np.nanmin(values), np.nanmax(values)
        set_limits(beta, y=(-round_up(max(-1.1 * low, 0.2)), round_up(max(1.1 * high, 0.2))))
        kept = np.concatenate([predicted, *(picture.alpha * np.exp(-path.decay) for path in paths), [picture.alpha]])
        set_limits(alpha, y=decades(max(0.9 * np.nanmin(kept), 1e-6), 1.1 * np.nanmax(kept)))
        losses = np.concatenate([side[1:] for path in paths for side in (path.train_loss, path.test_loss)])
        if np.isfinite(losses).any():
            set_limits(loss, y=decades(max(np.nanmin(losses), 1e-12), max(np.nanmax(losses), 1e-10), 2))
        return _words(picture)


_PLACES = ((0.085, 0.6, 0.42, 0.335), (0.085, 0.1, 0.42, 0.335), (0.59, 0.1, 0.395, 0.835))
_SHIFTS = (-0.25, 0.0, 0.25)


def draw(figure: Figure, picture: Picture | None = None, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(picture, **parameters)


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
    return Explorer(
        "What SAM does to a diagonal linear network", controls, Panels, (10.0, 5.6), paper="understanding-sam"
    )
