"""Pass band of an optimizer, and where it ends on the scalar factorisation (arXiv:2510.09034)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from workbench import draws
from workbench.draws.table import rows_of
from workbench.dynamics.sources import AllSamples, SampleOracle
from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import round_up, set_limits
from workbench.figures.style import GUIDE, PALETTE, SHADE
from workbench.optimizers import Moment, admissible_set, by_name, filter_ratio
from workbench.papers.eigenvalue_filtering.optimizers import KINDS, label
from workbench.problems import ScalarFactorisation

MOMENTA = ("none", "heavy_ball", "nesterov")
_STARTS, _STEPS = 200, 400


@dataclass(frozen=True)
class Picture:
    """What the explorer shows for one optimizer."""

    name: str
    band: list[tuple[float, float]]
    eigenvalues: Float[np.ndarray, " eigenvalue"]
    ratios: Float[np.ndarray, " eigenvalue"]
    starts: Float[np.ndarray, "2 run"]
    ends: Float[np.ndarray, "2 run"]
    settled: Bool[np.ndarray, " run"]
    limit_sharpness: Float[np.ndarray, " run"]


class _Columns(SampleOracle):
    """The oracle of many runs side by side, one per column: the sum of their losses has their gradients and Hessians."""

    def hessian_vector_product(self, x: Any, v: Any) -> Tensor:
        return (self.moment.problem.hessian(x) * v).sum(1)


def compute(
    kind: str = "usam", momentum: str = "none", step_size: float = 0.2, rho: float = 0.1, beta: float = 0.5
) -> Picture:
    """The filter alpha p(lambda)/c, and 400 steps from 200 starts on f(u, v) = 1/2 (u v - 1)^2."""
    rule = by_name(kind if momentum == "none" else f"{kind}+{momentum}", step_size, rho=rho, beta=beta)
    band, problem = admissible_set(rule), ScalarFactorisation()
    reach = round_up(max(1.2 * band[-1][1], 2.5))
    below = round_up(max(-1.2 * band[0][0], 0.4 * reach))
    eigenvalues = np.linspace(-min(below, 1.5 * reach), reach, 400)
    starts = 6 * draws.uniform(0, (2, _STARTS), stream="initial") - 3
    # Columns instead of `vmap`: on 200 pairs of numbers vmap's own work would take longer than the runs.
    ends, state = starts, rule.init(starts)
    for number in range(_STEPS):
        oracle = _Columns(AllSamples(), Moment(problem, ends, torch.tensor(number), rows_of({})))
        ends, state = rule.step(oracle, ends, state)
    assert isinstance(ends, Tensor)
    settled = (problem.gradient(ends).norm(dim=0) < 1e-3) & (ends.abs().amax(0) < 1e3)
    sharpness = torch.where(settled, problem.sharpness(ends), math.nan)
    return Picture(
        rule.name, band, eigenvalues, filter_ratio(rule, eigenvalues), starts.numpy(), ends.numpy(), settled.numpy(),
        sharpness.numpy(),
    )  # fmt: skip


class Panels:
    """Filter on the left, starts coloured by the sharpness of their limit on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        self._left, right, bar = (figure.add_axes(place) for place in _PLACES)
        left = self._left
        left.axhspan(0, 1, color=SHADE, alpha=0.10, linewidth=0)
        (self._filter,) = left.plot([], [], color=PALETTE[0], label=r"$\alpha\, p(\lambda)/c$")
        (self._band,) = left.plot([], [], color=SHADE, linewidth=7, solid_capstyle="butt", label="pass band")
        (self._found,) = left.plot([], [], "|", color=PALETTE[3], markersize=9, label="sharpness of limits")
        left.set(ylim=(-0.4, 1.65), xlabel=r"Hessian eigenvalue $\lambda$", ylabel=r"$\alpha\, p(\lambda)/c$")
        left.legend(loc="upper center", ncols=3, fontsize=9, columnspacing=1.2, framealpha=1, fancybox=False)
        self._title = left.set_title(label("gd"))
        (self._lost,) = right.plot([], [], "x", color=GUIDE, markersize=4)
        self._points = right.scatter([], [], c=[], s=16, cmap="viridis", vmin=0, vmax=1)
        figure.colorbar(self._points, cax=bar, label=r"sharpness of the limit, as a share of $\lambda_+$")
        right.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", title="Scalar factorisation (×: no limit)")
        right.set(xlabel="u at the start", ylabel="v at the start")
        self.moving = (self._band, self._filter, self._found, self._lost, self._points)

    def update(self, **parameters: Any) -> str:
        picture = compute(**parameters)
        band, lost = picture.band, ~picture.settled
        set_limits(self._left, x=(picture.eigenvalues[0], picture.eigenvalues[-1]))
        self._title.set_text(label(picture.name))
        self._filter.set_data(picture.eigenvalues, picture.ratios)
        edges = np.array([(low, high, math.nan) for low, high in band]).ravel()
        self._band.set_data(edges, np.full(edges.shape, -0.28))
        found = picture.limit_sharpness[np.isfinite(picture.limit_sharpness)]
        self._found.set_data(found, np.full(found.shape, -0.14))
        self._lost.set_data(*picture.starts[:, lost])
        self._points.set_offsets(picture.starts[:, ~lost].T)
        self._points.set_array(picture.limit_sharpness[~lost] / band[-1][1])
        words = " and ".join(f"[{low:.3g}, {high:.3g}]" for low, high in band)
        at_saddle = int((picture.settled & (np.abs(picture.ends).max(0) < 1e-2)).sum())
        largest = f"; largest found at a limit: {found.max():.3g}" if found.size else ""
        return f"Pass band {words}{largest}; {at_saddle} of {_STARTS} runs at the saddle, {lost.sum()} without limit."


_PLACES = ((0.09, 0.145, 0.42, 0.765), (0.572, 0.145, 0.322, 0.765), (0.906, 0.145, 0.014, 0.765))


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: object) -> Explorer:
    """Sliders for the step size (log), radius and momentum, menus for the kind of gradient and the momentum scheme."""
    start: dict[str, Any] = {"kind": "usam", "momentum": "none", "step_size": 0.2, "rho": 0.1, "beta": 0.5} | initial
    controls = [
        Control("kind", "gradient", start["kind"], kind="choice", choices=KINDS, meaning="effective gradient"),
        Control("momentum", "momentum scheme", start["momentum"], kind="choice", choices=MOMENTA),
        Control("step_size", "step size", start["step_size"], 0.01, 2.0, kind="log"),
        Control("rho", "radius rho", start["rho"], 0.0, 2.0, 0.01, meaning="one over a curvature"),
        Control("beta", "momentum beta", start["beta"], 0.0, 0.95, 0.05),
    ]
    return Explorer(
        "Which eigenvalues can an optimizer end at?", controls, Panels, (9.5, 4.0), paper="eigenvalue-filtering"
    )
