"""The exact spectrum of accelerated gossip on a small graph, and one run beside it (arXiv:2106.07644)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.continuized_nesterov.gossip import (
    exact_gossip_rate,
    half_and_half,
    moment_generator,
    simulate_gossip,
)
from workbench.papers.continuized_nesterov.graphs import graph as named_graph

GRAPHS = ("line", "cycle", "star", "complete")
NODES = (5, 6, 8, 10, 12)


@dataclass(frozen=True)
class Picture:
    """What the explorer shows at one point; times in units of 1/theta."""

    eigenvalues: Float[np.ndarray, " eigenvalue"]
    times: Float[np.ndarray, " time"]
    accelerated: Float[np.ndarray, " time"]
    plain: Float[np.ndarray, " time"]
    rate: float
    plain_rate: float
    theta: float


@functools.lru_cache(maxsize=64)
def compute(
    graph: str = "line", n_nodes: int = 8, theta_scale: float = 1.0, gamma_z_scale: float = 1.0, seed: int = 0
) -> Picture:
    """Eigenvalues of the moment generator (over theta) with both parameters scaled, and one run of each method."""
    one = named_graph(graph, n_nodes)
    theta = one.constants.theta
    scales = {"theta_scale": theta_scale, "gamma_z_scale": gamma_z_scale}
    eigenvalues = np.linalg.eigvals(moment_generator(one, **scales)) / theta
    times = np.linspace(0, 6, 61)
    start = half_and_half(n_nodes)
    runs = {
        "accelerated": simulate_gossip(one, start, (times / theta).tolist(), seed, **scales),
        "plain": simulate_gossip(one, start, (times / theta).tolist(), seed, method="plain"),
    }
    squares = {name: np.maximum((run.x**2).sum(1), 1e-12) for name, run in runs.items()}
    return Picture(
        eigenvalues,
        times,
        **squares,
        rate=-float(eigenvalues.real.max()),
        plain_rate=exact_gossip_rate(one, "plain") / theta,
        theta=theta,
    )


class Panels:
    """Eigenvalues in the complex plane on the left, one run on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.09, 0.16, 0.36, 0.73), (0.57, 0.16, 0.4, 0.73)))
        self._left = left
        (self._points,) = left.plot([], [], "o", color=PALETTE[0], markersize=4, alpha=0.5)
        left.axvline(-1, color=PALETTE[3], linestyle="--", linewidth=1.2, label=r"$-\theta$, proven")
        left.axvline(0, color=GUIDE, linewidth=1)
        self._edge = left.axvline(-1, color=PALETTE[2], linewidth=1.6, label="slowest mode")
        left.set(xlabel=r"real part $/\theta$", ylabel=r"imaginary part $/\theta$")
        left.set_title("spectrum of the moment generator", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="upper left")
        (self._accelerated,) = right.semilogy([], [], color=PALETTE[0], label="accelerated, one run")
        (self._plain,) = right.semilogy([], [], "--", color=PALETTE[1], label="plain, same edges")
        times = np.linspace(0, 6, 61)
        right.semilogy(times, 2 * np.exp(-times), ":", color=GUIDE, label=r"bound $2e^{-\theta t}$")
        right.set(xlim=(0, 6), ylim=(1e-6, 1e3), xlabel=r"$\theta t$", ylabel=r"$\|x_t-\bar x\|^2$")
        right.set_title("one run", fontsize=11, pad=9)
        right.legend(fontsize=9, loc="lower left")
        self.moving = (self._points, self._edge, self._accelerated, self._plain)

    def update(
        self,
        graph: str = "line",
        n_nodes: int = 8,
        theta_scale: float = 1.0,
        gamma_z_scale: float = 1.0,
        seed: int = 0,
    ) -> str:
        picture = compute(graph, n_nodes, theta_scale, gamma_z_scale, seed)
        near = picture.eigenvalues[picture.eigenvalues.real > -12]
        self._points.set_data(near.real, near.imag)
        self._edge.set_xdata([-picture.rate] * 2)
        reach = float(np.ceil(max(np.abs(near.imag).max(), 1.0)))
        set_limits(self._left, (-12.0, float(np.ceil(max(1.0, -picture.rate + 0.5)))), (-1.1 * reach, 1.1 * reach))
        self._accelerated.set_data(picture.times, picture.accelerated)
        self._plain.set_data(picture.times, picture.plain)
        verdict = f"{picture.rate:.3g} theta" if picture.rate > 0 else f"none: it explodes ({picture.rate:.3g} theta)"
        return (
            f"theta = {picture.theta:.3g}. Exact rate {verdict}; plain gossip {picture.plain_rate:.3g} theta: "
            f"{picture.rate / picture.plain_rate:.2f} times as fast."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Menus for graph and size, sliders for the two parameters' scales and the seed of the run."""
    start: dict[str, Any] = {
        "graph": "line",
        "n_nodes": 8,
        "theta_scale": 1.0,
        "gamma_z_scale": 1.0,
        "seed": 0,
    } | initial
    controls = [
        Control("graph", "graph", start["graph"], kind="choice", choices=GRAPHS),
        Control("n_nodes", "nodes n", start["n_nodes"], kind="choice", choices=NODES),
        Control(
            "theta_scale", "scale of theta", start["theta_scale"], 0.2, 3.0, 0.05, meaning="mixing over the paper's"
        ),
        Control(
            "gamma_z_scale",
            "scale of gamma'",
            start["gamma_z_scale"],
            0.0,
            4.0,
            0.05,
            meaning="z-step over the paper's",
        ),
        Control("seed", "seed of the run", start["seed"], 0, 50, kind="int"),
    ]
    return Explorer("How fast do neighbours agree?", controls, Panels, (9.4, 3.9), paper="continuized-nesterov")
