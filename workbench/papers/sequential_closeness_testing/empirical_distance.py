"""Closeness of two streams over a small alphabet by the total variation distance of their counts (arXiv:2205.06069, small n)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.papers.sequential_closeness_testing.bernoulli import first_true, require_test

_LARGEST = 12
"""Letters: the union bound is over 2^n events."""


class Decisions(NamedTuple):
    """Of each run: samples per stream when it stopped, and whether it called the distributions different."""

    tau: Int[np.ndarray, " run"]
    different: Bool[np.ndarray, " run"]


def distribution(weights: Float[np.ndarray, " letter"] | list[float], name: str = "P") -> Float[np.ndarray, " letter"]:
    """The weights as float64; ValueError unless they are >= 0 and sum to 1."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not (weights >= 0).all() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"{name} must be non-negative numbers that sum to 1, got {weights.tolist()[:8]!r}")
    return weights


def uniform(n: int) -> Float[np.ndarray, " letter"]:
    """Each of n letters with probability 1/n."""
    require_count("n", n, 2)
    return np.full(n, 1 / n)


def half_moved(n: int, d: float) -> Float[np.ndarray, " letter"]:
    """Distribution at distance d from the uniform one: every second letter gains what the others lose."""
    require_count("n", n, 2)
    gaining = np.arange(n) % 2 == 0
    weights = np.where(gaining, 1 / n + d / gaining.sum(), 1 / n - d / (~gaining).sum())
    if not (d >= 0 and weights.min() >= 0):
        raise ValueError(f"d must lie in [0, {(n // 2) / n:g}] for n = {n}, got {d!r}")
    return weights


def letters(numbers: Float[np.ndarray, " sample"], weights: Float[np.ndarray, " letter"]) -> Int[np.ndarray, " sample"]:
    """Letters 0 .. n - 1 with the given probabilities from uniform numbers on [0, 1)."""
    return np.searchsorted(np.cumsum(weights)[:-1], numbers, side="right")


def tv_threshold(t: int | np.ndarray, n: int, delta: float) -> np.ndarray:
    """theta_t = sqrt(ln(2^n t (t + 1)/delta)/t)."""
    t = np.asarray(t, dtype=np.float64)
    return np.sqrt((n * math.log(2) + np.log(t * (t + 1)) - math.log(delta)) / t)


def tv_batch_size(n: int, eps: float, delta: float) -> float:
    """4 ln(2^n/delta)/eps^2: samples per stream of the fixed-size test with the same bound and threshold eps/2."""
    require_test(eps, delta)
    return 4 * (n * math.log(2) - math.log(delta)) / eps**2


def tv_horizon(n: int, eps: float, delta: float, threshold_scale: float = 1.0) -> int:
    """First t at which 2 theta_t < eps: every run has stopped by then."""
    require_test(eps, delta)
    high = 1
    while 2 * threshold_scale * tv_threshold(high, n, delta) >= eps:
        high *= 2
    least, most = np.array([1]), np.array([high])
    return int(first_true(lambda t: 2 * threshold_scale * tv_threshold(t, n, delta) < eps, least, most)[0])


def tv_sequential(
    P: Float[np.ndarray, " letter"] | list[float],
    Q: Float[np.ndarray, " letter"] | list[float],
    eps: float,
    delta: float,
    runs: int,
    *,
    seed0: int = 0,
    threshold_scale: float = 1.0,
) -> Decisions:
    """Independent runs of the sequential test on streams from P and Q.

    "Different" once their empirical distance exceeds theta_t, "close" once it is below eps - theta_t. Run r draws from
    seed0 + r alone.
    """
    P, Q = distribution(P), distribution(Q, "Q")
    if P.shape != Q.shape or not 2 <= P.size <= _LARGEST:
        raise ValueError(f"P and Q must have the same 2..{_LARGEST} letters, got {P.size} and {Q.size}")
    require_count("runs", runs)
    require_nonnegative("seed0", seed0)
    horizon = tv_horizon(P.size, eps, delta, threshold_scale)
    t = np.arange(1, horizon + 1)
    theta = threshold_scale * tv_threshold(t, P.size, delta)
    tau, different = np.empty(runs, dtype=np.int64), np.empty(runs, dtype=bool)
    for run in range(runs):
        rng = draws.generator(seed0 + run, "streams")
        excess = np.zeros((P.size, horizon), dtype=np.int64)
        excess[letters(rng.random(horizon), P), t - 1] += 1
        excess[letters(rng.random(horizon), Q), t - 1] -= 1
        distance = np.abs(excess.cumsum(1)).sum(0) / (2 * t)
        rejects = distance > theta
        tau[run] = 1 + np.argmax(rejects | (distance < eps - theta))
        different[run] = rejects[tau[run] - 1]
    return Decisions(tau, different)
