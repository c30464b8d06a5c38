"""What integrated loss and label noise do to the solution of a diagonal network (arXiv:2106.09524, Theorem 1)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.dynamics import sweep
from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import decades, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.sgd_diagonal_nets.data import SparseData, minimum_l1, sparse_data
from workbench.papers.sgd_diagonal_nets.effective_initialisation import effective_initialisation
from workbench.papers.sgd_diagonal_nets.step_size import kaczmarz_step
from workbench.papers.sgd_diagonal_nets.study import Arm, Study
from workbench.problems.factorised.diagonal_potential import argmin_phi, phi

RUNS, STEPS = 20, 10_000
_ALPHAS = np.logspace(-9, 1, 41)


@dataclass(frozen=True)
class DataSet:
    """What does not depend on the sliders but the seed: solutions, gamma*, and the test loss of argmin phi over alpha."""

    data: SparseData
    sparsest: torch.Tensor
    shortest: torch.Tensor
    gamma: float
    tests: Float[np.ndarray, " alpha"]


@functools.lru_cache(maxsize=32)
def data_set(seed0: int) -> DataSet:
    """n = 40, d = 100, k = 5."""
    data = sparse_data(seed0)
    sparsest = minimum_l1(data.inputs, data.targets)
    shortest = torch.linalg.pinv(data.inputs) @ data.targets
    tests = sweep(
        lambda alpha: {"test": data.test_loss(argmin_phi(data.inputs, data.targets, alpha))},
        alpha=_ALPHAS,
        progress=False,
    ).test.values
    return DataSet(data, sparsest, shortest, float(kaczmarz_step(data.inputs, sparsest)), tests)


@dataclass(frozen=True)
class Picture:
    """Limits at alpha and at alpha_infinity, their test losses, and mean alpha_infinity; runs: (alpha_eff, test loss) of SGD."""

    flow: Float[np.ndarray, " feature"]
    stochastic: Float[np.ndarray, " feature"]
    tests: tuple[float, float]
    effective: float
    own_integral: float
    runs: Float[np.ndarray, "run 2"]


def compute(
    alpha: float = 0.01,
    loss_integral: float = 6.0,
    noise_integral: float = 0.0,
    seed0: int = 0,
    runs: str = "none",
) -> Picture:
    """argmin phi at alpha and at alpha exp(-2 gamma D (int L + int delta^2)), gamma = gamma*.

    runs: "SGD" adds 20 runs of 10,000 steps on the same data.
    Raises ValueError for alpha <= 0 or negative integrals.
    """
    one = data_set(seed0)
    data = one.data
    effective = effective_initialisation(data.inputs, alpha, one.gamma, loss_integral, noise_integral)
    flow, stochastic = (argmin_phi(data.inputs, data.targets, scale) for scale in (alpha, effective))
    own = 0.5 * float(phi(flow, alpha))
    tests = (float(data.test_loss(flow)), float(data.test_loss(stochastic)))
    found = sgd_runs(alpha, seed0) if runs == "SGD" else np.full((RUNS, 2), np.nan)
    return Picture(flow.numpy(), stochastic.numpy(), tests, float(torch.log(effective).mean().exp()), own, found)


@functools.lru_cache(maxsize=32)
def sgd_runs(alpha: float, seed0: int) -> Float[np.ndarray, "run 2"]:
    """Effective initialisation (geometric mean over features) and test loss of SGD runs with other samples, step gamma*."""
    arms = {str(stream): Arm(1.0, alpha, stream=stream) for stream in range(RUNS)}
    found = Study(range(seed0, seed0 + 1)).descents(arms, STEPS).isel(seed=0)
    return np.stack([alpha * np.exp(-found.decay.values), found.test.values], axis=1)


class Panels:
    """The solutions by feature on the left; test loss of argmin phi against the initialisation on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.085, 0.14, 0.49, 0.68), (0.67, 0.14, 0.315, 0.68)))
        self._axes = right
        features, none = np.arange(1, 101), np.full(100, np.nan)
        looks: dict[str, Any] = {"linestyle": "none"}
        (self._truth,) = left.plot(
            features, none, "_", color="k", markersize=9, markeredgewidth=1.6, label="truth", **looks
        )
        (self._l2,) = left.plot(features, none, ".", color="0.65", markersize=4, label=r"least $\ell_2$", **looks)
        (self._l1,) = left.plot(features, none, "x", color=GUIDE, markersize=5, label=r"least $\ell_1$", **looks)
        (self._flow,) = left.plot(
            features, none, "o", color=PALETTE[0], mfc="none", markersize=5, label=r"argmin $\phi$ at $\alpha$", **looks
        )
        (self._stochastic,) = left.plot(
            features, none, "D", color=PALETTE[3], markersize=3.5, label=r"at $\alpha_\infty$", **looks
        )
        left.set(xlabel="feature", ylabel=r"$\beta_j$", xlim=(0, 101), ylim=(-10, 10))
        left.set_yscale("symlog", linthresh=1e-4)
        left.set_yticks([-1, -1e-2, -1e-4, 0, 1e-4, 1e-2, 1])
        left.axvline(5.5, color="0.8", linewidth=1)
        (self._curve,) = right.plot(
            _ALPHAS, np.full(_ALPHAS.size, np.nan), color=GUIDE, linewidth=1.2, label=r"argmin $\phi$"
        )
        (self._runs,) = right.plot([], [], ".", color=PALETTE[1], markersize=5, label="SGD runs", **looks)
        (self._start,) = right.plot(
            [], [], "o", color=PALETTE[0], mfc="none", markersize=8, label=r"at $\alpha$", **looks
        )
        (self._end,) = right.plot([], [], "D", color=PALETTE[3], markersize=6, label=r"at $\alpha_\infty$", **looks)
        right.set(
            xscale="log",
            yscale="log",
            xlabel="initialisation",
            ylabel=r"test loss $|\beta-\beta^*|^2$",
            xlim=(1e-9, 10),
        )
        for axes, columns, edge in ((left, 5, 1.0), (right, 2, 1.02)):
            axes.legend(
                loc="lower right", bbox_to_anchor=(edge, 1.0), ncols=columns, fontsize=8.5, frameon=False,
                columnspacing=1.0, handletextpad=0.3, handlelength=1.4,
            )  # fmt: skip
        self.moving = (
            self._truth, self._l2, self._l1, self._flow, self._stochastic, self._curve, self._runs, self._start, self._end,
        )  # fmt: skip

    def update(self, **values: Any) -> str:
        picture, one = compute(**values), data_set(values.get("seed0", 0))
        right = self._axes
        self._truth.set_ydata(one.data.truth.numpy())
        self._l2.set_ydata(one.shortest.numpy())
        self._l1.set_ydata(one.sparsest.numpy())
        self._flow.set_ydata(picture.flow)
        self._stochastic.set_ydata(picture.stochastic)
        self._curve.set_ydata(one.tests)
        alpha = values.get("alpha", 0.01)
        self._start.set_data([alpha], [picture.tests[0]])
        self._end.set_data([picture.effective], [picture.tests[1]])
        self._runs.set_data(picture.runs[:, 0], picture.runs[:, 1])
        heights = np.concatenate([one.tests, picture.tests, picture.runs[:, 1]])
        set_limits(right, y=decades(max(float(np.nanmin(heights)), 1e-12), float(np.nanmax(heights))))
        set_limits(right, x=(min(1e-9, 10.0 ** np.floor(np.log10(picture.effective))), 10.0))
        return _words(picture, one.gamma, alpha)


def _words(picture: Picture, gamma: float, alpha: float) -> str:
    text = (
        f"Test loss {picture.tests[0]:.3g} at alpha = {alpha:.3g}, {picture.tests[1]:.3g} at alpha_infinity = "
        f"{picture.effective:.3g} (step gamma* = {gamma:.3g}; gradient flow's own integral is {picture.own_integral:.3g})."
    )
    if np.isnan(picture.runs).all():
        return text
    initialisation, test = np.exp(np.log(picture.runs).mean(0))
    return f"{text} {RUNS} runs of SGD, {STEPS} steps: {test:.3g} at {initialisation:.3g}."


def draw(figure: Figure, **values: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**values)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the initialisation, the integrated loss, label noise and the data; SGD runs on demand."""
    start: dict[str, Any] = {"alpha": 0.01, "loss_integral": 6.0, "noise_integral": 0.0, "seed0": 0, "runs": "none"}
    start |= initial
    controls = [
        Control("alpha", "initialisation alpha", start["alpha"], 1e-8, 10.0, kind="log", meaning="w+ = w- = alpha"),
        Control("loss_integral", "integrated loss", start["loss_integral"], 0.0, 30.0, 0.5, meaning="int L dt"),
        Control("noise_integral", "label noise", start["noise_integral"], 0.0, 30.0, 0.5, meaning="delta^2 times time"),
        Control("seed0", "seed", start["seed0"], 0, 23, kind="int", meaning="of the data"),
        Control(
            "runs", "measured runs", start["runs"], kind="choice", choices=("none", "SGD"), meaning="20 runs of SGD"
        ),
    ]
    return Explorer("Which solution does noise choose?", controls, Panels, (10.0, 4.2), paper="sgd-diagonal-nets")
