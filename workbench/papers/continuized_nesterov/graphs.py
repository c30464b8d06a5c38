"""Graphs for gossip: edges, the Laplacian of their rates, effective resistances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from workbench.checks import require_count
from workbench.papers.continuized_nesterov.rates import GossipConstants, gossip_constants

KINDS = ("line", "cycle", "grid", "star", "complete")
Edges = Int[np.ndarray, "edge 2"]


def graph_edges(kind: str, n: int) -> Edges:
    """The edges of a line, cycle, square grid, star or complete graph on n nodes.

    >>> graph_edges("cycle", 3).tolist()
    [[0, 1], [1, 2], [2, 0]]
    """
    require_count("n", n, 3)
    if kind not in KINDS:
        raise ValueError(f"graph must be one of {', '.join(KINDS)}, got {kind!r}")
    nodes = np.arange(n)
    if kind == "line":
        return np.stack([nodes[:-1], nodes[1:]], axis=1)
    if kind == "cycle":
        return np.stack([nodes, (nodes + 1) % n], axis=1)
    if kind == "star":
        return np.stack([np.zeros(n - 1, dtype=int), nodes[1:]], axis=1)
    if kind == "complete":
        return np.stack(np.triu_indices(n, 1), axis=1)
    side = math.isqrt(n)
    if side**2 != n:
        raise ValueError(f"a grid needs a square number of nodes, got {n}; {side**2} and {(side + 1) ** 2} are near")
    square = nodes.reshape(side, side)
    right = np.stack([square[:, :-1].ravel(), square[:, 1:].ravel()], axis=1)
    down = np.stack([square[:-1].ravel(), square[1:].ravel()], axis=1)
    return np.concatenate([right, down])


def random_geometric_edges(n: int, radius: float, seed: int) -> Edges:
    """Pairs of n uniform points of the unit square that are nearer than `radius`. ValueError unless they connect all."""
    from workbench import draws

    require_count("n", n, 3)
    points = draws.uniform(seed, (n, 2), stream="places").numpy()
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    edges = np.argwhere(np.triu(distance < radius, 1))
    Graph(n, edges)
    return edges


@dataclass(frozen=True, eq=False)
class Graph:
    """n nodes and edges that ring at rates P_e with sum 1 (uniform by default, else normalised weights >= 0)."""

    n: int
    edges: Edges
    weights: Float[np.ndarray, " edge"] | None = None

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges, dtype=int)
        if edges.ndim != 2 or edges.shape[1] != 2 or not len(edges) or edges.min() < 0 or edges.max() >= self.n:
            raise ValueError(f"edges must be pairs of nodes 0..{self.n - 1}, got shape {edges.shape}")
        weights = np.ones(len(edges)) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (len(edges),) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise ValueError(f"edge_probs must be {len(edges)} finite numbers >= 0, not all zero, one per edge")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "weights", weights / weights.sum())
        if not self.gap > 1e-12 / self.n**3:
            raise ValueError("graph is not connected: some nodes never hear of others")

    @property
    def probabilities(self) -> Float[np.ndarray, " edge"]:
        """P_e."""
        assert self.weights is not None
        return self.weights

    @property
    def laplacian(self) -> Float[np.ndarray, "node node"]:
        """sum_e P_e a_e a_e^T with a_e = e_v - e_w."""
        matrix = np.zeros((self.n, self.n))
        for (v, w), p in zip(self.edges, self.probabilities, strict=True):
            matrix[[v, w], [v, w]] += p
            matrix[v, w] -= p
            matrix[w, v] -= p
        return matrix

    @property
    def gap(self) -> float:
        """mu, the second smallest eigenvalue of the Laplacian."""
        return float(np.linalg.eigvalsh(self.laplacian)[1])

    def effective_resistances(self) -> Float[np.ndarray, " edge"]:
        """R_e = a_e^T L^+ a_e."""
        # L + 11^T/n has the same inverse on vectors of mean 0, and is positive definite.
        inverse = np.linalg.inv(self.laplacian + 1 / self.n)
        v, w = self.edges.T
        return inverse[v, v] + inverse[w, w] - inverse[v, w] - inverse[w, v]

    @property
    def constants(self) -> GossipConstants:
        """theta and gamma' of accelerated gossip."""
        return gossip_constants(self.gap, float(self.effective_resistances().max()))


def graph(kind: str, n: int, probabilities: Float[np.ndarray, " edge"] | None = None) -> Graph:
    """One of the named graphs."""
    return Graph(n, graph_edges(kind, n), probabilities)
