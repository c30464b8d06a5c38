"""What breaks when inputs are not orthogonal: flows still fit, and their norm is held against the convex programme's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from workbench.papers.relu_gradient_flow.convex import Interpolator, least_variation_norm
from workbench.papers.relu_gradient_flow.network import Neurons, relu_network
from workbench.papers.relu_gradient_flow.points import Points, nonorthogonal_toy, toy
from workbench.papers.relu_gradient_flow.study import flows, frames, horizon


def oblique(
    angles: Sequence[float], scales: Sequence[float], n: int, *, width: int, dt: float, seed0: int = 0
) -> xr.Dataset:
    """The toy example with its points at some angles (degrees): flows from n starts at every scale.

    Returns:
        excess (angle, scale, seed) of |theta|^2/2 over the least variation norm, relative; final, the loss at the end;
        least(angle), that norm, by the convex programme.
    """
    parts = []
    for angle in angles:
        points = toy(angle)
        least = least_variation_norm(points).norm
        run = flows(points, scales, n, width=width, dt=dt, settle=14.0, kept=20, seed0=seed0)
        one = xr.Dataset({"excess": run.half_norm / least - 1, "final": run.final, "least": least})
        parts.append(one.expand_dims(angle=[angle]))
    return xr.concat(parts, "angle")


@dataclass(frozen=True, eq=False)
class FivePoints:
    """The paper's five points on the line: where the flow from one start ends, and the interpolator of least norm."""

    points: Points
    scale: float
    neurons: Neurons
    least: Interpolator
    excess: float
    loss: float


def five_points(
    *, width: int = 60, scale: float = 1e-3, seed: int = 0, dt: float = 0.1, settle: float = 150.0
) -> FivePoints:
    """The flow on the five points from one start; excess is that of |theta|^2/2 over the least variation norm, relative.

    The norm at the end is nine times what orthogonal inputs of these lengths would need, so steps must be as much smaller than
    `largest_step` allows: 0.2 already overshoots.
    """
    points = nonorthogonal_toy()
    until = horizon(points, scale, settle=settle)
    (neurons,) = frames(points, width=width, scale=scale, seed=seed, dt=dt, times=[until])
    network, least = relu_network(points, width, scale), least_variation_norm(points)
    norm = float(network.measures["half_norm"](neurons))
    return FivePoints(points, scale, neurons, least, norm / least.norm - 1, float(network.loss(neurons)))
