"""Runs of the test by Z: sampled letters, counts, the checks at which it may stop (arXiv:2205.06069, large alphabets)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.papers.sequential_closeness_testing.empirical_distance import distribution, letters
from workbench.papers.sequential_closeness_testing.z_statistic import (
    check_times,
    sample_counts,
    z_statistic,
    z_threshold,
)


class ZRuns(NamedTuple):
    """Samples per set when each run called D1 and D2 different, or t_max where it had not by then (`censored`)."""

    tau: Int[np.ndarray, " run"]
    censored: Bool[np.ndarray, " run"]


def half_heavy(n: int) -> Float[np.ndarray, " letter"]:
    """One letter with probability 1/2, n - 1 that share the rest alike."""
    require_count("n", n, 2)
    return np.concatenate([[0.5], np.full(n - 1, 0.5 / (n - 1))])


def zipf(n: int) -> Float[np.ndarray, " letter"]:
    """Letter i = 1 .. n with probability proportional to 1/i."""
    require_count("n", n, 2)
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def z_paths(P: np.ndarray, Q: np.ndarray, runs: int, t_max: int, *, seed0: int = 0) -> Float[np.ndarray, "run check"]:
    """Z of every run at every check up to t_max, for every constant and every delta. Run r draws from seed0 + r alone."""
    P, Q = _pair(P, Q)
    _require_runs(runs, seed0)
    times, n = check_times(t_max), P.size
    new = np.diff(times, prepend=0)
    # which set and which check each of the numbers of a run is for, in the order in which `_path` draws them
    sets = np.concatenate([np.repeat(np.arange(4), count) for count in new])
    places = (4 * np.repeat(np.arange(len(times)), 4 * new) + sets) * n
    first = sets < 2
    values = np.empty((runs, len(times)))
    for run in range(runs):
        rng, drawn = draws.generator(seed0 + run, "four samples"), np.empty(len(sets), dtype=np.int64)
        numbers = rng.random(len(sets))
        drawn[first], drawn[~first] = letters(numbers[first], P), letters(numbers[~first], Q)
        counts = sample_counts(places + drawn, 4 * n * len(times)).reshape(len(times), 4, n).cumsum(0)
        values[run] = z_statistic(*counts.transpose(1, 0, 2))
    return values


def z_sequential(
    P: np.ndarray, Q: np.ndarray, delta: float, c: float, runs: int, *, t_max: int = 10**7, seed0: int = 0
) -> ZRuns:
    """Independent runs that stop at the first check with Z > u_t; their draws are those of `z_paths`."""
    P, Q = _pair(P, Q)
    _require_runs(runs, seed0)
    times = check_times(t_max)
    levels = dict(zip(times.tolist(), z_threshold(times, delta, c).tolist(), strict=True))
    tau, censored = np.full(runs, times[-1]), np.ones(runs, dtype=bool)
    for run in range(runs):
        for t, z in _path(P, Q, seed0 + run, times.tolist()):
            if z > levels[t]:
                tau[run], censored[run] = t, False
                break
    return ZRuns(tau, censored)


def _path(P: np.ndarray, Q: np.ndarray, seed: int, times: list[int]) -> Iterator[tuple[int, int]]:
    n, rng, before = P.size, draws.generator(seed, "four samples"), 0
    counts = np.zeros((4, n), dtype=np.int64)  # X, X2, Y, Y2
    for t in times:
        new = t - before
        drawn = np.concatenate([letters(rng.random(2 * new), P), letters(rng.random(2 * new), Q)])
        counts += sample_counts(drawn + np.repeat(np.arange(4) * n, new), 4 * n).reshape(4, n)
        before = t
        yield t, int(z_statistic(*counts))


def _pair(P: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    P, Q = distribution(P), distribution(Q, "Q")
    if P.shape != Q.shape:
        raise ValueError(f"P and Q must have the same letters, got {P.size} and {Q.size}")
    return P, Q


def _require_runs(runs: int, seed0: int) -> None:
    require_count("runs", runs)
    require_nonnegative("seed0", seed0)
