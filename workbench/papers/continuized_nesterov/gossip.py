"""Averaging over a graph by random pairwise exchanges, plain and accelerated: exact rates and simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from workbench import draws, memory
from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.dynamics.moments import second_moment_generator
from workbench.papers.continuized_nesterov.graphs import Graph
from workbench.papers.continuized_nesterov.rates import GossipConstants
from workbench.papers.continuized_nesterov.simulation import FLOWS

METHODS = ("accelerated", "plain")


def moment_generator(
    graph: Graph,
    method: str = "accelerated",
    *,
    theta_scale: float = 1.0,
    gamma_z_scale: float = 1.0,
    averaging: float = 0.5,
) -> Float[np.ndarray, "row column"]:
    """The generator of all second moments of (x, z) on vectors of mean zero; of x alone for plain gossip.

    averaging: by which share of their difference both nodes of an edge move; 1/2 is the paper's.
    """
    _known(method)
    if not 0 < averaging < 1:
        raise ValueError(f"averaging must lie in (0, 1), got {averaging!r}")
    size = graph.n - 1
    states = size if method == "plain" else 2 * size
    memory.require(
        8.0 * (states**4 + 3 * (states * (states + 1) // 2) ** 2),
        f"the second moments of {graph.n} nodes",
        "simulate instead",
    )
    edges = np.zeros((len(graph.edges), graph.n))
    edges[np.arange(len(edges)), graph.edges[:, 0]] = 1.0
    edges[np.arange(len(edges)), graph.edges[:, 1]] = -1.0
    # An orthonormal basis of mean zero: else the mean itself is an eigenvalue 0.
    basis = np.linalg.qr(np.eye(graph.n)[:, 1:] - 1 / graph.n)[0]
    projected = edges @ basis
    outer = projected[:, :, None] * projected[:, None, :]
    if method == "plain":
        flow, jumps = np.zeros((size, size)), np.eye(size) - averaging * outer
    else:
        theta, gamma_prime = _scaled(graph.constants, theta_scale, gamma_z_scale)
        flow = np.kron(theta * np.array([[-1.0, 1.0], [1.0, -1.0]]), np.eye(size))
        jumps = np.broadcast_to(np.eye(2 * size), (len(outer), 2 * size, 2 * size)).copy()
        jumps[:, :size, :size] -= averaging * outer
        jumps[:, size:, :size] -= gamma_prime * outer
    return second_moment_generator(flow, list(jumps), graph.probabilities.tolist())


def exact_gossip_rate(
    graph: Graph,
    method: str = "accelerated",
    *,
    theta_scale: float = 1.0,
    gamma_z_scale: float = 1.0,
    averaging: float = 0.5,
) -> float:
    """The exact rate at which E |x_t - mean|^2 decays; the proven ones are theta, and mu/2 for plain gossip."""
    scales = {"theta_scale": theta_scale, "gamma_z_scale": gamma_z_scale, "averaging": averaging}
    generator = moment_generator(graph, method, **scales)
    return -float(np.linalg.eigvals(generator).real.max())


class GossipPath(NamedTuple):
    """Node values at the recorded times."""

    times: Float[np.ndarray, " time"]
    x: Float[np.ndarray, "time node"]
    z: Float[np.ndarray, "time node"]


def simulate_gossip(
    graph: Graph,
    start: Float[np.ndarray, " node"],
    times: Sequence[float],
    seed: int,
    *,
    method: str = "accelerated",
    theta_scale: float = 1.0,
    gamma_z_scale: float = 1.0,
    one_sided: bool = False,
    flow: str = "exact",
) -> GossipPath:
    """One run, event by event: only the two nodes of the ringing edge are touched, each with a clock of its own.

    Costs some microseconds an event, whatever the number of nodes. one_sided: only the first node of the edge moves; flow =
    "euler": one Euler step between a node's events (controls).
    """
    _known(method)
    x = _start(graph, start)
    z, clock = list(x), [0.0] * graph.n
    theta, gamma_prime = 0.0, 0.0
    if method == "accelerated":
        theta, gamma_prime = _scaled(graph.constants, theta_scale, gamma_z_scale)
    if flow not in FLOWS:
        raise ValueError(f"flow must be one of {', '.join(FLOWS)}, got {flow!r}")
    wanted = np.asarray(times, dtype=np.float64)
    if wanted.ndim != 1 or not len(wanted) or not (np.diff(wanted, prepend=0.0) >= 0).all():
        raise ValueError("times must be a list of increasing numbers >= 0")
    kept_x, kept_z, index, exp = [], [], 0, math.expm1

    def settle(node: int, now: float) -> None:
        apart = z[node] - x[node]
        if apart:
            wait = now - clock[node]
            half = (-0.5 * exp(-2 * theta * wait) if flow == "exact" else theta * wait) * apart
            x[node] += half
            z[node] -= half
        clock[node] = now

    for ring, v, w in _rings(graph, float(wanted[-1]), seed):
        while index < len(wanted) and wanted[index] < ring:
            for node in range(graph.n):
                settle(node, float(wanted[index]))
            kept_x.append(list(x))
            kept_z.append(list(z))
            index += 1
        if index == len(wanted):
            break
        settle(v, ring)
        settle(w, ring)
        apart = x[v] - x[w]
        x[v] -= apart / 2
        z[v] -= gamma_prime * apart
        if not one_sided:
            x[w] += apart / 2
            z[w] += gamma_prime * apart
        if theta == 0.0:
            z[v], z[w] = x[v], x[w]
    return GossipPath(wanted, np.array(kept_x), np.array(kept_z))


def simulate_gossip_globally(graph: Graph, start: Float[np.ndarray, " node"], horizon: float, seed: int) -> GossipPath:
    """The same run with the whole state flowing at every event: what the nodes' own clocks must reproduce."""
    x = np.array(_start(graph, start))
    z, now = x.copy(), 0.0
    theta, gamma_prime = graph.constants
    for ring, v, w in _rings(graph, horizon, seed):
        half = -0.5 * np.expm1(-2 * theta * (min(ring, horizon) - now)) * (z - x)
        x, z, now = x + half, z - half, ring
        if ring > horizon:
            break
        apart = x[v] - x[w]
        x[[v, w]] += np.array([-0.5, 0.5]) * apart
        z[[v, w]] += np.array([-gamma_prime, gamma_prime]) * apart
    return GossipPath(np.array([horizon]), x[None], z[None])


def half_and_half(n: int) -> Float[np.ndarray, " node"]:
    """The normalised start of which one half of the nodes has one value and the other its opposite, of mean zero."""
    require_count("n", n, 2)
    signs = np.where(np.arange(n) < n / 2, 1.0, -1.0)
    signs -= signs.mean()
    return signs / np.linalg.norm(signs)


def _rings(graph: Graph, horizon: float, seed: int):
    """(time, node, node) of the ringing edges, the first beyond the horizon included."""
    bounds, block, now, number = np.cumsum(graph.probabilities), 512, 0.0, 0
    bounds[-1] = 1.0
    edges = graph.edges
    while now <= horizon:
        waits = -np.log1p(-draws.uniform(seed, (block,), stream="rings", counter=number).numpy())
        chosen = np.searchsorted(bounds, draws.uniform(seed, (block,), stream="edges", counter=number), side="right")
        ends = edges[np.minimum(chosen, len(edges) - 1)]
        stamps = now + np.cumsum(waits)
        yield from zip(stamps.tolist(), ends[:, 0].tolist(), ends[:, 1].tolist(), strict=True)
        now, number = float(stamps[-1]), number + 1


def _scaled(constants: GossipConstants, theta_scale: float, gamma_z_scale: float) -> GossipConstants:
    require_positive("theta_scale", theta_scale)
    require_nonnegative("gamma_z_scale", gamma_z_scale)
    return GossipConstants(theta_scale * constants.theta, gamma_z_scale * constants.gamma_prime)


def _start(graph: Graph, start: Float[np.ndarray, " node"]) -> list[float]:
    values = np.asarray(start, dtype=np.float64)
    if values.shape != (graph.n,):
        raise ValueError(f"start must have {graph.n} values, one per node, got shape {values.shape}")
    return values.tolist()


def _known(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
