"""Exact decision boundaries, occupancy and cost of a sequential test of a coin (arXiv:2205.06069, alphabets of two letters)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import round_up, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.sequential_closeness_testing.bernoulli import batch_size_bernoulli
from workbench.papers.sequential_closeness_testing.stopping_law import live_states
from workbench.papers.sequential_closeness_testing.stopping_rules import stopping_rule

RULES = ("sprt", "glr")
_COLUMNS, _ROWS = 120, 60
_REACH = 2.5
"""Horizon of the picture in batch sizes."""


@dataclass(frozen=True)
class Picture:
    """What the explorer shows at one point; E tau is exact up to the mass that still runs at the horizon."""

    times: Float[np.ndarray, " time"]
    reject: Float[np.ndarray, " time"]
    accept: Float[np.ndarray, " time"]
    occupancy: Float[np.ndarray, "deviation column"]
    pmf: Float[np.ndarray, " time"]
    E_tau: float
    p_reject: float
    p_accept: float
    leftover: float
    batch: int


@functools.lru_cache(maxsize=64)
def compute(test: str = "sprt", eps: float = 0.1, delta: float = 1e-4, p: float = 0.6) -> Picture:
    """The test of 1/2 at distance eps and error delta, when heads have probability p, up to 2.5 batch sizes.

    Raises ValueError for values outside 0 < eps < 1/2, delta < 1/2, 0 <= p <= 1.
    """
    rule = stopping_rule(test, eps, delta)
    batch = batch_size_bernoulli(eps, delta)
    horizon = int(_REACH * batch)
    times, every = np.arange(1, horizon + 1), 1 + 2 * (horizon // (8 * _COLUMNS))  # odd: both parities
    reject, accept = (np.asarray(boundary, dtype=np.float64) for boundary in rule.boundaries(times))
    edges = np.linspace(0, 0.5, _ROWS + 1)
    occupancy = np.zeros((_ROWS, _COLUMNS))
    counts = np.zeros(_COLUMNS)
    rejected, accepted = np.zeros((2, horizon))
    left = 1.0
    for live in live_states(np.array([p]), rule):
        if live.t > horizon:
            break
        rejected[live.t - 1], accepted[live.t - 1] = live.rejected[0], live.accepted[0]
        left = float(live.mass.sum())
        if live.t % every:
            continue
        column = (live.t - 1) * _COLUMNS // horizon
        deviation = (live.low + 2 * np.arange(live.mass.shape[1])) / (2 * live.t)
        rows = np.minimum(np.searchsorted(edges, deviation, side="right") - 1, _ROWS - 1)
        np.add.at(occupancy[:, column], rows, live.mass[0])
        counts[column] += 1
    pmf = rejected + accepted
    return Picture(
        times,
        np.where(reject <= times, reject / times - 0.5, np.nan),
        np.where(2 * accept >= times, accept / times - 0.5, np.nan),
        occupancy / np.maximum(counts, 1),
        pmf,
        float(pmf @ times + left * horizon),
        float(rejected.sum()),
        float(accepted.sum()),
        left,
        batch,
    )


class Panels:
    """Where the test still runs and where it stops on the left, the law of its size on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.09, 0.16, 0.38, 0.72), (0.58, 0.16, 0.39, 0.72)))
        self._left, self._right = left, right
        self._image = left.imshow(np.zeros((_ROWS, _COLUMNS)), origin="lower", aspect="auto", cmap="Blues", vmin=0)
        (self._reject,) = left.plot([], [], color=PALETTE[3], linewidth=1.6, label="reject above")
        (self._accept,) = left.plot([], [], color=PALETTE[2], linewidth=1.6, linestyle="--", label="accept below")
        self._true = left.axhline(0, color=GUIDE, linestyle=":", linewidth=1.2, label="$|p-1/2|$")
        left.set(xlabel="samples $t$", ylabel="$|S_t/t-1/2|$", ylim=(0, 0.5))
        left.set_title("probability of still running (blue)", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="upper right")
        left.grid(False)
        left.autoscale(False)
        (self._law,) = right.plot([], [], color=PALETTE[0])
        self._batch = right.axvline(0, color=GUIDE, linestyle="--", linewidth=1.2, label="batch size")
        self._mean = right.axvline(0, color=PALETTE[0], linestyle=":", linewidth=1.6, label=r"$E\,\tau$")
        right.set(xlabel="samples $t$", ylabel=r"$P(\tau\leq t)$", ylim=(0, 1.02))
        right.set_title("law of the stopping time", fontsize=11, pad=9)
        right.legend(fontsize=9, loc="lower right")
        self.moving = (self._image, self._reject, self._accept, self._true, self._law, self._batch, self._mean)

    def update(self, test: str = "sprt", eps: float = 0.1, delta: float = 1e-4, p: float = 0.6) -> str:
        picture = compute(test, eps, delta, p)
        end = int(picture.times[-1])
        self._image.set_data(np.sqrt(picture.occupancy))
        self._image.set_extent((0, end, 0, 0.5))
        self._image.set_clim(0, float(np.sqrt(picture.occupancy.max())))
        self._reject.set_data(picture.times, picture.reject)
        self._accept.set_data(picture.times, picture.accept)
        self._true.set_ydata([abs(p - 0.5)] * 2)
        self._law.set_data(picture.times, picture.pmf.cumsum())
        self._batch.set_xdata([picture.batch] * 2)
        self._mean.set_xdata([picture.E_tau] * 2)
        for ax in (self._left, self._right):
            set_limits(ax, (0, round_up(end)))
        more = f", {picture.leftover:.2g} of the mass beyond {end}" if picture.leftover > 1e-6 else ""
        return (
            f"Expected samples {picture.E_tau:.1f} of a batch of {picture.batch}: {picture.batch / picture.E_tau:.2f} times "
            f"fewer{more}; rejects with probability {picture.p_reject:.3g}, accepts with {picture.p_accept:.3g}."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the distance eps, the error delta and the true p, a menu for the rule."""
    start: dict[str, Any] = {"test": "sprt", "eps": 0.1, "delta": 1e-4, "p": 0.6} | initial
    controls = [
        Control("test", "rule", start["test"], kind="choice", choices=RULES),
        Control("eps", "distance eps", start["eps"], 0.08, 0.35, 0.01, meaning="the distance to be detected"),
        Control("delta", "error delta", start["delta"], 1e-8, 0.1, kind="log", meaning="error probability"),
        Control("p", "true p", start["p"], 0.0, 1.0, 0.01, meaning="probability of heads"),
    ]
    return Explorer(
        "When may a test of a coin stop?", controls, Panels, (9.0, 3.8), paper="sequential-closeness-testing"
    )
