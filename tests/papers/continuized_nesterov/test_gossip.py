"""Graph constants in closed form, exact rates against simulation, invariants of the exchange."""

import math

import numpy as np
import pytest

from workbench.papers.continuized_nesterov.gossip import (
    exact_gossip_rate,
    half_and_half,
    moment_generator,
    simulate_gossip,
    simulate_gossip_globally,
)
from workbench.papers.continuized_nesterov.graphs import KINDS, Graph, graph, graph_edges, random_geometric_edges


def test_gaps_and_resistances_in_closed_form():
    n = 9
    line, cycle, star, complete = (graph(kind, n) for kind in ("line", "cycle", "star", "complete"))
    assert line.gap == pytest.approx((2 - 2 * math.cos(math.pi / n)) / (n - 1))
    np.testing.assert_allclose(line.effective_resistances(), n - 1)  # a tree: 1/P_e
    assert cycle.gap == pytest.approx((2 - 2 * math.cos(2 * math.pi / n)) / n)
    np.testing.assert_allclose(cycle.effective_resistances(), n - 1)  # n (n-1)/n
    assert star.gap == pytest.approx(1 / (n - 1))
    np.testing.assert_allclose(star.effective_resistances(), n - 1)
    assert complete.gap == pytest.approx(2 / (n - 1))
    np.testing.assert_allclose(complete.effective_resistances(), 2 / n * n * (n - 1) / 2)
    grid = graph("grid", 9)
    assert len(grid.edges) == 12 and (grid.probabilities * grid.effective_resistances()).sum() == pytest.approx(n - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_resistances_weighed_by_rates_sum_to_n_minus_one(kind):
    """Foster's theorem."""
    weights = np.random.default_rng(0).random(len(graph_edges(kind, 9))) + 0.1
    one = graph(kind, 9, weights)
    assert (one.probabilities * one.effective_resistances()).sum() == pytest.approx(8, rel=1e-10)
    assert one.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(("kind", "n"), [("line", 7), ("cycle", 6), ("star", 6), ("grid", 4), ("complete", 5)])
def test_exact_rates_are_no_slower_than_proven(kind, n):
    one = graph(kind, n)
    assert exact_gossip_rate(one) >= one.constants.theta * (1 - 1e-9)
    assert exact_gossip_rate(one, "plain") >= one.gap / 2 * (1 - 1e-9)


def test_on_the_complete_graph_both_have_rate_one_over_n_minus_one():
    one = graph("complete", 6)
    assert one.constants.theta == pytest.approx(1 / 5)
    assert exact_gossip_rate(one) == pytest.approx(1 / 5)
    assert exact_gossip_rate(one, "plain") == pytest.approx(1 / 5)


def test_the_moment_generator_agrees_with_simulation():
    from scipy.linalg import expm

    from workbench.dynamics.moments import packed, unpacked

    one, time, runs = graph("line", 4), 4.0, 1500
    start = np.array([1.0, 0.5, -0.5, -1.0])
    basis = np.linalg.qr(np.eye(4)[:, 1:] - 1 / 4)[0]
    state = np.tile(basis.T @ start, 2)
    moments = unpacked(expm(time * moment_generator(one)) @ packed(np.outer(state, state)))
    exact = np.trace(moments[:3, :3])
    seen = np.array([(simulate_gossip(one, start, [time], seed).x ** 2).sum() for seed in range(runs)])
    assert abs(seen.mean() - exact) < 4 * seen.std() / runs**0.5


def test_clocks_of_their_own_reproduce_the_global_flow_and_conserve_the_mean():
    one = Graph(30, random_geometric_edges(30, 0.45, 1))
    start = np.random.default_rng(0).standard_normal(30)
    lazy, whole = simulate_gossip(one, start, [800.0], 5), simulate_gossip_globally(one, start, 800.0, 5)
    np.testing.assert_allclose(lazy.x, whole.x, atol=1e-13)
    np.testing.assert_allclose(lazy.z, whole.z, atol=1e-13)
    for values in (lazy.x, lazy.z):
        assert values.mean() == pytest.approx(start.mean(), abs=1e-13)
    assert np.abs(lazy.x - start.mean()).max() < 0.01 * np.abs(start).max()
    moved = simulate_gossip(one, start, [800.0], 5, one_sided=True).x.mean()
    assert abs(moved - start.mean()) > 1e-3


def test_plain_gossip_is_averaging_of_pairs():
    one = graph("cycle", 5)
    path = simulate_gossip(one, half_and_half(5), [0.0, 40.0], 2, method="plain")
    np.testing.assert_array_equal(path.x[0], half_and_half(5))
    np.testing.assert_array_equal(path.x, path.z)
    assert np.abs(path.x[1]).max() < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph("torus", 9), "graph must be one of line, cycle, grid, star, complete"),
        (lambda: graph("grid", 8), "a grid needs a square number of nodes, got 8; 4 and 9 are near"),
        (lambda: graph("line", 2), "n must be an int >= 3"),
        (lambda: graph("line", 4, np.ones(2)), "edge_probs must be 3 finite numbers >= 0"),
        (lambda: graph("line", 4, np.array([1.0, 0.0, 1.0])), "graph is not connected"),
        (lambda: Graph(3, np.array([[0, 3]])), r"edges must be pairs of nodes 0\.\.2"),
        (lambda: random_geometric_edges(30, 0.01, 0), "edges must be pairs|not connected"),
        (lambda: exact_gossip_rate(graph("line", 4), "push"), "method must be one of accelerated, plain"),
        (lambda: simulate_gossip(graph("line", 4), np.ones(3), [1.0], 0), "start must have 4 values"),
        (lambda: simulate_gossip(graph("line", 4), np.ones(4), [2.0, 1.0], 0), "times must be a list of increasing"),
        (lambda: exact_gossip_rate(graph("line", 400)), "simulate instead"),
    ],
)
def test_refusals(call, message):
    with pytest.raises((ValueError, MemoryError), match=message):
        call()
