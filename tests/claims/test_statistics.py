"""Intervals cover the truth as often as they say, and agree with independent computations."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from workbench.claims import statistics

RUNS = 2000
# Three standard errors of a share near .95 over RUNS simulations.
SLACK = 3 * math.sqrt(0.95 * 0.05 / RUNS)


def coverage(interval, draw, truth):
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(RUNS):
        found = interval(draw(rng))
        hits += found.low <= truth <= found.high
    return hits / RUNS


@pytest.mark.parametrize("n", [5, 20])
def test_mean_interval_covers_exactly_for_normal_samples(n):
    share = coverage(statistics.mean_interval, lambda rng: rng.normal(3.0, 2.0, n), 3.0)
    assert abs(share - 0.95) <= SLACK


@pytest.mark.parametrize("n", [5, 20])
def test_ratio_interval_covers_the_geometric_mean_of_lognormal_samples(n):
    share = coverage(statistics.ratio_interval, lambda rng: rng.lognormal(math.log(0.7), 0.8, n), 0.7)
    assert abs(share - 0.95) <= SLACK


@pytest.mark.parametrize("n", [6, 20])
def test_median_interval_covers_at_least_for_a_skewed_distribution(n):
    share = coverage(statistics.median_interval, lambda rng: rng.exponential(1.0, n), math.log(2))
    assert share >= 0.95 - SLACK


@pytest.mark.parametrize("truth", [0.1, 0.5, 0.9])
def test_proportion_interval_covers_at_least(truth):
    share = coverage(lambda k: statistics.proportion_interval(k, 20), lambda rng: rng.binomial(20, truth), truth)
    assert share >= 0.95 - SLACK


def test_bootstrap_interval_covers_about_from_twenty_seeds(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 499)
    share = coverage(statistics.bootstrap_interval, lambda rng: rng.normal(1.0, 1.0, 20), 1.0)
    assert 0.89 <= share <= 0.96


@pytest.mark.parametrize(("successes", "confidence"), product([0, 1, 7, 19, 20], [0.9, 0.95, 0.99]))
def test_proportion_interval_is_clopper_pearson(successes, confidence):
    found = statistics.proportion_interval(successes, 20, confidence)
    reference = stats.binomtest(successes, 20).proportion_ci(confidence, method="exact")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize("n", range(1, 31))
def test_median_interval_is_the_narrowest_pair_of_order_statistics_by_counting(n):
    found = statistics.median_interval(np.arange(1.0, n + 1))
    below = [sum(math.comb(n, j) for j in range(k)) / 2**n for k in range(n // 2 + 2)]
    cut = max((k for k in range(1, n // 2 + 1) if below[k] <= 0.025), default=None)
    expected = (cut, n + 1 - cut) if cut else (-math.inf, math.inf)
    assert (found.low, found.high) == expected


def test_median_interval_is_infinite_below_six_seeds_and_finite_from_there():
    assert statistics.median_interval(np.arange(5.0)).high == math.inf
    assert statistics.median_interval(np.arange(6.0))[1:] == (0.0, 5.0)


def test_median_interval_takes_nan_as_any_value_and_infinity_as_itself():
    samples = np.append(np.arange(1.0, 20.0), np.nan)
    found = statistics.median_interval(samples)
    lowest = statistics.median_interval(np.append(np.arange(1.0, 20.0), -np.inf))
    highest = statistics.median_interval(np.append(np.arange(1.0, 20.0), np.inf))
    assert (found.low, found.high) == (lowest.low, highest.high)
    assert highest.estimate == 10.5


def test_mean_interval_is_scipys():
    samples = np.array([0.3, 0.1, 0.4, 0.15, 0.9])
    reference = stats.ttest_1samp(samples, 0).confidence_interval(0.9)
    assert statistics.mean_interval(samples, 0.9)[1:] == pytest.approx((reference.low, reference.high), rel=1e-12)


def test_standard_errors_replace_the_student_factor():
    samples = np.array([1.0, 2.0, 3.0, 4.0])
    found = statistics.mean_interval(samples, standard_errors=3)
    assert found.high - 2.5 == pytest.approx(3 * stats.sem(samples))


def test_holm_by_hand():
    # Sorted .01 .02 .03 .2 times 4 3 2 1: .04 .06 .06 .2; never below the one before.
    assert statistics.holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_p_values_and_intervals_decide_alike():
    rng = np.random.default_rng(3)
    for _ in range(200):
        samples = rng.normal(0.5, 1.0, 12)
        for interval, above in (
            (statistics.mean_interval, statistics.mean_above),
            (statistics.median_interval, statistics.median_above),
        ):
            assert (interval(samples).low > 0) == (statistics.two_sided(above(samples, 0.0)) <= 0.05)
        k = int(np.sum(samples > 0))
        p_value = statistics.two_sided(statistics.proportion_above(k, 12, 0.5))
        assert (statistics.proportion_interval(k, 12).low > 0.5) == (p_value <= 0.05)


def test_the_bootstrap_repeats_itself():
    samples = np.random.default_rng(0).normal(size=25)
    assert statistics.bootstrap_interval(samples) == statistics.bootstrap_interval(samples)


@pytest.mark.parametrize(("k", "bound"), product([0, 1, 10, 20], [0.0, 0.3, 0.5, 1.0]))
def test_tails_are_scipys(k, bound):
    assert statistics.proportion_above(k, 20, bound) == pytest.approx(stats.binom.sf(k - 1, 20, bound), abs=1e-12)
    samples = np.random.default_rng(k).normal(size=9)
    reference = stats.ttest_1samp(samples, bound, alternative="greater").pvalue
    assert statistics.mean_above(samples, bound) == pytest.approx(reference, abs=1e-12)
