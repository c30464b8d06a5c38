"""The exact law of a stopping time: a dynamic programme over the states in which the test has not stopped yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from workbench.papers.sequential_closeness_testing.stopping_rules import StoppingRule

_BLOCK = 512
_NEGLIGIBLE = 1e-300
"""States below this probability under every p are dropped, far below any delta / 1000; subnormal numbers would be slow."""


class StoppingLaw(NamedTuple):
    """What a test does at each p: expected size, probabilities of both decisions, `pmf[..., t - 1]` = P(tau = t).

    `leftover` is the probability of still running at the end.
    """

    E_tau: np.ndarray
    p_reject: np.ndarray
    p_accept: np.ndarray
    pmf: np.ndarray
    leftover: np.ndarray


class Live(NamedTuple):
    """States |2 S - t| = low, low + 2, ... that go on after time t, and their probabilities, one row for each p.

    `rejected` and `accepted` are the probabilities of having stopped just now.
    """

    t: int
    low: int
    mass: np.ndarray
    rejected: np.ndarray
    accepted: np.ndarray


def sequential_dp(p: float | list[float] | np.ndarray, stop_rule: StoppingRule, t_max: int = 10**7) -> StoppingLaw:
    """Exact expected size and errors of a sequential test of p = 1/2, when heads have probability p (one or several).

    Goes on until less than delta / 1000 (and 1e-15) has not stopped under every p, so that errors of order delta and twelve
    digits of the expected size are resolved, or until t_max: what then still runs is `leftover`, and `E_tau` counts it as stopped
    at t_max, a lower bound.
    """
    if t_max < 1:
        raise ValueError(f"t_max must be >= 1, got {t_max!r}")
    chances, guard = np.atleast_1d(np.asarray(p, dtype=np.float64)), min(stop_rule.delta / 1000, 1e-15)
    rejected, accepted, leftover = [np.zeros_like(chances)], [np.zeros_like(chances)], np.ones_like(chances)
    for live in live_states(chances, stop_rule):
        rejected.append(live.rejected)
        accepted.append(live.accepted)
        if live.t >= t_max or live.t % _BLOCK == 0 or not live.mass.size:
            leftover = live.mass.sum(1)
            if live.t >= t_max or (leftover < guard).all():
                break
    reject, accept = np.array(rejected[1:]).T, np.array(accepted[1:]).T
    pmf, times = reject + accept, np.arange(1, len(rejected))
    law = StoppingLaw(pmf @ times + leftover * times[-1], reject.sum(1), accept.sum(1), pmf, leftover)
    return law if np.ndim(p) else StoppingLaw(*(field[0] for field in law))


def live_states(p: np.ndarray, stop_rule: StoppingRule) -> Iterator[Live]:
    """The states in which the test has not stopped, for t = 1, 2, ...; heads have probability p, one row for each.

    The distance K = |2 S - t| is a Markov chain of its own (the sign of 2 S - t given the past of K has odds (p/q)^K): from K > 0
    it grows by one with probability (p^(K+1) + q^(K+1))/(p^K + q^K). Rules that are symmetric stop by K alone.
    """
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p must lie in [0, 1], got {p.tolist()!r}")
    larger = np.maximum(p, 1 - p)[:, None]
    odds = (1 - larger) / larger
    outward, inward = _steps(larger, odds, 2 * _BLOCK)
    mass, low, t = np.ones((len(p), 1)), 0, 0
    while True:
        times = np.arange(t + 1, t + _BLOCK + 1)
        reject, accept = stop_rule.boundaries(times)
        ends = zip((2 * reject - times).tolist(), (2 * np.minimum(accept, reject - 1) - times).tolist(), strict=True)
        if low + 2 * mass.shape[1] + _BLOCK >= outward.shape[1]:
            outward, inward = _steps(larger, odds, 2 * (low + 2 * mass.shape[1] + _BLOCK))
        for t, (rejecting, accepting) in zip(times.tolist(), ends, strict=True):
            span = slice(low, low + 2 * mass.shape[1], 2)
            grows, shrinks = mass * outward[:, span], mass * inward[:, span]
            if low:
                mass = np.zeros((len(p), mass.shape[1] + 1))
                mass[:, 1:], low = grows, low - 1
                mass[:, :-1] += shrinks
            else:
                mass, low = grows, 1
                mass[:, :-1] += shrinks[:, 1:]
            width = mass.shape[1]
            first = min(max((accepting - low) // 2 + 1, 0), width)
            last = min(max((rejecting - low + 1) // 2, first), width)
            accepted, rejected = mass[:, :first].sum(1), mass[:, last:].sum(1)
            mass, low = mass[:, first:last], low + 2 * first
            yield Live(t, low, mass, rejected, accepted)
        mass, low = _without_negligible(mass, low)


def _steps(larger: np.ndarray, odds: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the distances 0 .. size - 1 to grow and to shrink."""
    distance = np.arange(size)
    stay = 1 + odds**distance
    outward, inward = larger * (1 + odds ** (distance + 1)) / stay, np.zeros((len(larger), size))
    inward[:, 1:] = (1 - larger) * stay[:, :-1] / stay[:, 1:]
    outward[:, 0] = 1.0
    return outward, inward


def _without_negligible(mass: np.ndarray, low: int) -> tuple[np.ndarray, int]:
    kept = np.flatnonzero((mass >= _NEGLIGIBLE).any(0))
    if not kept.size:
        return mass[:, :0], low
    return mass[:, kept[0] : kept[-1] + 1], low + 2 * int(kept[0])
