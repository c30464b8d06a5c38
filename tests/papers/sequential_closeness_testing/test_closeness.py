"""Closeness of two distributions: the small-alphabet test step by step; Z, its mean and its crossing times."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import ive
from scipy.stats import poisson

from workbench import draws
from workbench.papers.sequential_closeness_testing import empirical_distance as tv
from workbench.papers.sequential_closeness_testing import z_simulation as simulation
from workbench.papers.sequential_closeness_testing import z_statistic as z


def test_each_run_is_the_test_step_by_step():
    P, Q, eps, delta = tv.uniform(3), tv.half_moved(3, 0.25), 0.3, 0.05
    decisions = tv.tv_sequential(P, Q, eps, delta, 4, seed0=5)
    horizon = tv.tv_horizon(3, eps, delta)
    for run, (tau, different) in enumerate(zip(*decisions, strict=True)):
        rng = draws.generator(5 + run, "streams")
        first, second = (tv.letters(rng.random(horizon), weights) for weights in (P, Q))
        for t in range(1, horizon + 1):
            counts = [np.bincount(stream[:t], minlength=3) / t for stream in (first, second)]
            distance, theta = 0.5 * abs(counts[0] - counts[1]).sum(), math.sqrt(math.log(8 * t * (t + 1) / delta) / t)
            if distance > theta or distance < eps - theta:
                break
        assert (tau, different) == (t, distance > theta)


def test_runs_depend_on_their_seed_alone_and_are_never_censored():
    P = tv.uniform(2)
    whole = tv.tv_sequential(P, P, 0.4, 0.1, 6)
    np.testing.assert_array_equal(tv.tv_sequential(P, P, 0.4, 0.1, 2, seed0=4).tau, whole.tau[4:])
    horizon = tv.tv_horizon(2, 0.4, 0.1)
    assert whole.tau.max() <= horizon
    assert 2 * tv.tv_threshold(horizon, 2, 0.1) < 0.4 <= 2 * tv.tv_threshold(horizon - 1, 2, 0.1)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_distances_are_what_they_say(n):
    d = 0.8 * (n // 2) / n
    moved = tv.half_moved(n, d)
    assert moved.sum() == pytest.approx(1) and 0.5 * abs(moved - tv.uniform(n)).sum() == pytest.approx(d)
    if n % 2 == 0:
        np.testing.assert_allclose(moved, np.tile([1 + 2 * d, 1 - 2 * d], n // 2) / n)
    for weights in (simulation.half_heavy(n), simulation.zipf(n)):
        assert weights.sum() == pytest.approx(1) and weights.argmax() == 0


def test_letters_have_their_frequencies():
    weights = np.array([0.1, 0.0, 0.6, 0.3])
    counts = z.sample_counts(tv.letters(draws.generator(0).random(40_000), weights), 4)
    assert counts[1] == 0 and (abs(counts - 40_000 * weights) <= 4 * np.sqrt(40_000 * weights * (1 - weights))).all()


def test_z_has_mean_zero_between_equal_distributions_and_positive_otherwise():
    def mean(P, Q, t=2):
        streams = [list(itertools.product(range(2), repeat=t)) for _ in range(4)]
        total = 0.0
        for drawn in itertools.product(*streams):
            weight = math.prod(w[i] for w, s in zip((P, P, Q, Q), drawn, strict=True) for i in s)
            total += weight * z.z_statistic(*(np.bincount(s, minlength=2) for s in drawn))
        return total

    assert mean([0.3, 0.7], [0.3, 0.7]) == pytest.approx(0, abs=1e-13)
    assert mean([0.3, 0.7], [0.6, 0.4]) > 0.1


def test_z_is_symmetric_and_one_sample_moves_it_by_at_most_four():
    rng = draws.generator(3)
    X, X2, Y, Y2 = rng.poisson(2.0, (4, 6))
    value, order = z.z_statistic(X, X2, Y, Y2), rng.permutation(6)
    assert value == z.z_statistic(Y, Y2, X, X2) == z.z_statistic(X2, X, Y2, Y)
    assert value == z.z_statistic(X[order], X2[order], Y[order], Y2[order])
    for i, j in itertools.product(range(6), repeat=2):
        moved = X + np.eye(6, dtype=int)[j] - np.eye(6, dtype=int)[i]
        assert abs(z.z_statistic(moved, X2, Y, Y2) - value) <= 4
    stacked = z.z_statistic(*(np.stack([c, 2 * c]) for c in (X, X2, Y, Y2)))
    np.testing.assert_array_equal(stacked, [value, 2 * value])


def absolute_difference(a, b):
    """E|Poi(a) - Poi(b)| from the law of the difference (Skellam)."""
    k = np.arange(1, int(8 * math.sqrt(a + b) + 40))
    ratio = (a / b) ** (k / 2.0)
    bessel = ive(k, 2 * math.sqrt(a * b)) * math.exp(-((math.sqrt(a) - math.sqrt(b)) ** 2))
    return float((k * bessel * (ratio + 1 / ratio)).sum())


@pytest.mark.parametrize(("t", "n", "d"), [(100, 1000, 0.3), (1e4, 100, 0.1), (5e3, 1000, 0.45), (30, 2, 0.2)])
def test_mean_of_z_against_the_law_of_the_difference_and_the_double_sum(t, n, d):
    rate = t / n
    rates = [(rate, rate * (1 + sign * 2 * d)) for sign in (-1, 1)]
    e = absolute_difference
    skellam = n / 2 * sum(2 * e(a, b) - e(a, a) - e(b, b) for a, b in rates)
    assert z.mean_z(t, n, d) == pytest.approx(skellam, rel=1e-10)
    counts = np.arange(int(2 * rate + 20 * math.sqrt(2 * rate) + 30))
    apart = abs(counts[:, None] - counts)

    def double(a, b):
        return poisson.pmf(counts, a) @ apart @ poisson.pmf(counts, b)

    brute = n / 2 * sum(2 * double(a, b) - double(a, a) - double(b, b) for a, b in rates)
    assert z.mean_z(t, n, d) == pytest.approx(brute, rel=1e-8)


def test_limits_of_the_mean():
    for t in (1e-6, 1e-3, 1.0):
        assert z.mean_z(t, 1000, 0.1) == pytest.approx(8 * t**2 * 0.01 / 1000, rel=3e-3)
    t, n, d = 1e7, 100, 1e-4
    assert z.mean_z(t, n, d) == pytest.approx(4 * t**1.5 * d**2 / math.sqrt(math.pi * n), rel=1e-3)


def test_simulated_z_has_this_mean():
    n, t, d, runs = 20, 60, 0.3, 4000
    rng = draws.generator(0, "z")
    P, Q = tv.uniform(n), tv.half_moved(n, d)
    values = z.z_statistic(*(rng.poisson(t * weights, (runs, n)) for weights in (P, P, Q, Q)))
    assert abs(values.mean() - z.mean_z(t, n, d)) <= 4 * values.std() / math.sqrt(runs)


@pytest.mark.parametrize(("n", "d", "c"), [(10**3, 0.45, 32.0), (10**9, 0.3, 4.0), (10, 0.01, 4.0), (2, 0.49, 0.02)])
def test_crossing_time_solves_its_equation(n, d, c):
    t = z.crossing_time(n, d, 0.05, c)
    assert z.mean_z(t, n, d) == pytest.approx(float(z.z_threshold(t, 0.05, c)), rel=1e-10)
    m = z.z_batch_size(n, d, 0.05, c)
    assert z.mean_z(m, n, d) == pytest.approx(2 * math.sqrt(c * m * math.log(20)), rel=1e-10)
    check = z.accepting_check(n, d, 0.05, c)
    times = z.check_times(2 * check).tolist()
    enough = [t for t in times if z.mean_z(t, n, d) >= 2 * z.z_threshold(t, 0.05, c)]
    assert enough[0] == check


def test_checks_and_thresholds_keep_the_error():
    times = z.check_times(10**6)
    assert times[:4].tolist() == [8, 10, 12, 14] and (times[1:] <= np.ceil(1.15 * times[:-1])).all()
    u = z.z_threshold(times, 0.05, 32.0)
    assert np.exp(-(u**2) / (32 * times)).sum() <= 0.05
    assert u[0] == pytest.approx(math.sqrt(32 * 8 * math.log(math.pi**2 / 0.3)))


def test_stopping_agrees_with_the_paths():
    P, Q = tv.uniform(10), tv.half_moved(10, 0.4)
    paths, times = simulation.z_paths(P, Q, 5, 400, seed0=2), z.check_times(400)
    runs = simulation.z_sequential(P, Q, 0.05, 4.0, 5, t_max=400, seed0=2)
    over = paths > z.z_threshold(times, 0.05, 4.0)
    np.testing.assert_array_equal(runs.tau, np.where(over.any(1), times[over.argmax(1)], times[-1]))
    np.testing.assert_array_equal(runs.censored, ~over.any(1))
    assert not runs.censored.all()
    assert simulation.z_sequential(P, P, 0.05, 32.0, 2, t_max=50).censored.all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: z.crossing_time(7, 0.1, 0.05, 4.0), "n must be an even int"),
        (lambda: z.mean_z(10.0, 10, 0.5), "d, the distance"),
        (lambda: z.crossing_time(2, 1e-9, 0.05, 32.0), "the exact mean would sum"),
        (lambda: z.crossing_time(10, 0.1, 0.7, 4.0), "delta"),
        (lambda: z.threshold_constant("loose"), "one of rigorous, calibrated"),
        (lambda: z.threshold_constant(-1.0), "threshold"),
        (lambda: tv.tv_sequential([0.5, 0.6], [0.5, 0.5], 0.1, 0.1, 1), "sum to 1"),
        (lambda: tv.tv_sequential([0.5, 0.5], [1.0], 0.1, 0.1, 1), "same 2..12 letters"),
        (lambda: tv.half_moved(3, 0.4), "d must lie in"),
        (lambda: simulation.z_paths(tv.uniform(2), tv.uniform(3), 1, 100), "same letters"),
        (lambda: simulation.z_paths(tv.uniform(2), tv.uniform(2), 0, 100), "runs"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
