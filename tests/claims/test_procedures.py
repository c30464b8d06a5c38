"""Each procedure against an independent computation, and the numerics no constant and no scale may disturb."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workbench.claims.statistics import counts, mean, pairs, seeds
from workbench.claims.statistics.bounded import bounded
from workbench.claims.statistics.moments import moments

RNG = np.random.default_rng(0)
X = RNG.gamma(2.0, 1.0, 15)


@pytest.mark.parametrize("bound", [0.5, 2.0, 3.0])
def test_a_symmetric_mean_is_students_t(bound):
    one = mean.mean(X, symmetric=True)
    reference = stats.ttest_1samp(X, bound, alternative="greater")
    assert one.above(bound, False) == pytest.approx(reference.pvalue, rel=1e-9)
    assert one.below(bound, False) == pytest.approx(1 - reference.pvalue, rel=1e-9)
    interval = stats.ttest_1samp(X, 0).confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_halls_correction_is_the_documents_and_the_interval_inverts_it():
    n, (m, s, g) = len(X), moments(X)
    assert g == pytest.approx(stats.skew(X, bias=False), rel=1e-9)
    bound, one = 1.2, mean.mean(X)
    t = math.sqrt(n) * (m - bound) / s
    p = []
    for k in (0, 1, 2):
        h = k * g / math.sqrt(n)
        p.append(stats.t.sf(t + h * (t * t / 3 + 1 / 6) + h * h * t**3 / 27, n - 1))
    assert one.above(bound, False) == pytest.approx(max(p), rel=1e-9)
    assert one.above(one.low, False) == pytest.approx(0.025, rel=1e-6)
    assert one.below(one.high, False) == pytest.approx(0.025, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e100, 1e100, allow_subnormal=False), st.integers(5, 40))
def test_a_constant_sample_is_exactly_its_value(value, n):
    one = mean.mean(np.full(n, value))
    assert one.constant and (one.estimate, one.low, one.high) == (value, value, value)


@pytest.mark.parametrize("power", [-600, -60, 60, 600])
def test_scaling_by_a_power_of_two_changes_nothing_but_the_scale(power):
    x = np.array([1.0, -2, 3, 4, -1, 2])
    one, scaled = mean.mean(x), mean.mean(np.ldexp(x, power))
    assert scaled.above(0.0, False) == one.above(0.0, False) == pytest.approx(0.166247272)
    assert (scaled.low, scaled.estimate, scaled.high) == tuple(np.ldexp([one.low, one.estimate, one.high], power))
    assert moments(x[::-1])[:2] == moments(x)[:2]


def test_ties_and_rounding_are_refused_with_what_would_do():
    zeros = np.append(np.zeros(12), RNG.exponential(1.0, 8))
    assert "share or a median" in mean.mean(zeros).refused
    assert "beyond rounding" in mean.mean(1.0 + np.arange(10) * 2e-16).refused
    assert not mean.mean(1.0 + np.arange(10) * 2e-16, error=1e-16).refused


def test_a_ratio_is_the_mean_of_logarithms():
    one, logs = mean.ratio(X), mean.mean(np.log(X))
    assert one.estimate == pytest.approx(stats.gmean(X))
    assert one.above(1.5, False) == logs.above(math.log(1.5), False)
    assert "not positive" in mean.ratio(np.append(X, 0.0)).refused


def test_a_slope_is_the_mean_of_the_seeds_slopes():
    sizes, y = [1, 2, 4, 8], np.array([1, 2, 4, 8])[:, None] ** 0.7 * RNG.lognormal(0, 0.1, (4, 12))
    slopes = np.polyfit(np.log(sizes), np.log(y), 1)[0]
    assert mean.slope(sizes, y).estimate == pytest.approx(slopes.mean())


@pytest.mark.parametrize("n", range(1, 31))
def test_the_median_interval_is_the_narrowest_pair_of_order_statistics(n):
    one = counts.median(np.arange(1.0, n + 1))
    below = [sum(math.comb(n, j) for j in range(k)) / 2**n for k in range(n // 2 + 2)]
    cut = max((k for k in range(1, n // 2 + 1) if below[k] <= 0.025), default=None)
    assert (one.low, one.high) == ((cut, n + 1 - cut) if cut else (-math.inf, math.inf))
    if cut:
        reference = stats.quantile_test(np.arange(1.0, n + 1), q=2.5, p=0.5, alternative="greater")
        assert one.above(2.5, False) == pytest.approx(reference.pvalue, abs=1e-12)


def test_censored_and_missing_samples_count_against_either_side():
    lows = np.append(np.full(12, 5.0), [7.0, 7.0])  # the last two ran until 7 and did not stop
    highs = np.append(np.full(12, 5.0), [math.inf, math.inf])
    one = counts.median(lows, highs)
    assert one.above(6.0, False) == pytest.approx(stats.binom.sf(1, 14, 0.5))
    assert one.below(6.0, False) == pytest.approx(stats.binom.sf(11, 14, 0.5))
    missing = counts.median(np.append(np.full(12, 5.0), [math.nan, math.nan]))
    assert missing.above(4.0, False) == missing.below(6.0, False) == pytest.approx(stats.binom.sf(11, 14, 0.5))


@pytest.mark.parametrize("k", [0, 1, 7, 19, 20])
def test_a_share_is_clopper_pearson(k):
    one = counts.share(np.arange(20) < k)
    reference = stats.binomtest(k, 20).proportion_ci(0.95, method="exact")
    assert (one.low, one.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert one.above(0.3, False) == pytest.approx(stats.binomtest(k, 20, 0.3, alternative="greater").pvalue)
    assert one.below(0.3, False) == pytest.approx(stats.binomtest(k, 20, 0.3, alternative="less").pvalue)


@pytest.mark.parametrize(("k", "n"), [(1, 5), (3, 10), (19, 20), (48, 50), (2, 200)])
def test_gaffkes_bound_is_the_binomial_on_zeros_and_ones(k, n):
    one = bounded((np.arange(n) < k).astype(float), 0.0, 1.0)
    for b in (0.05, 0.3, 0.5, 0.9):
        assert one.above(b, False) == pytest.approx(stats.binom.sf(k - 1, n, b), abs=1e-8)
        assert one.below(b, False) == pytest.approx(stats.binom.cdf(k, n, b), abs=1e-8)


def test_gaffkes_bound_against_simulation_and_with_one_bound_alone():
    x, b = np.array([0.2, 0.5, 0.9, 0.4, 0.7]), 0.3
    e = np.random.default_rng(1).exponential(1.0, (200_000, 6))
    simulated = np.mean(e[:, :5] @ (x - b) + e[:, 5] * (0 - b) <= 0)
    one = bounded(x, 0.0, None)
    assert one.above(b, False) == pytest.approx(simulated, abs=4e-3) and one.below(b, False) == 1.0
    assert one.above(one.low, False) == pytest.approx(0.025, rel=1e-6)


def test_a_pooled_ratio_takes_the_larger_p_of_fieller_and_jackknife():
    x, y = RNG.lognormal(0, 0.5, 12), RNG.lognormal(0.3, 0.5, 12)
    one, b = pairs.pooled(x, y), 0.6
    full = math.log(x.mean() / y.mean())
    pseudo = 12 * full - 11 * np.log((x.sum() - x) / (y.sum() - y))
    jackknife = mean.mean(pseudo - pseudo.mean() + full).above(math.log(b), False)
    assert one.above(b, False) == pytest.approx(max(mean.mean(x - b * y).above(0.0, False), jackknife), rel=1e-6)
    assert one.low < x.mean() / y.mean() < one.high and "signed" in pairs.pooled(-x, y).refused


def test_a_position_needs_its_ends_apart():
    a, b = RNG.normal(0, 0.1, 12), RNG.normal(1, 0.1, 12)
    assert pairs.position(a + 0.9 * (b - a), a, b).above(0.0, False) < 1e-4
    assert pairs.position(a + 0.9 * (b - a), b, a).above(0.0, False) > 0.9


def test_a_correlation_is_kendalls_tau():
    x, y = RNG.normal(size=40), RNG.normal(size=40)
    assert pairs.correlation(x, x + y).estimate == pytest.approx(stats.kendalltau(x, x + y).statistic)
    assert "at least 10" in pairs.correlation(x[:9], y[:9]).refused and "perfectly" in pairs.correlation(x, x).refused


def test_the_tie_rule_of_a_correlation_is_about_the_two_samples():
    rng = np.random.default_rng(1)
    grid, other, rare = rng.integers(0, 5, 40).astype(float), rng.normal(size=40), np.repeat([0.0, 1.0], [36, 4])
    assert pairs.correlation(grid, other).estimate == pytest.approx(stats.kendalltau(grid, other).statistic)
    for x, y in ((rare, other), (other, rare), (rare, rng.permutation(rare))):
        assert "equal samples" in pairs.correlation(x, y).refused


def test_the_loaders_formulas_are_the_documents():
    assert [seeds.least_for_median(seeds.level(m)) for m in (3, 10, 20, 40)] == [6, 8, 9, 10]
    assert [seeds.least_for_share(t, True, 0.025) for t in (0.8, 0.9, 0.95)] == [17, 36, 72]
    assert [seeds.least_for_share(t, True, seeds.level(10)) for t in (0.8, 0.9)] == [24, 51]
    assert [seeds.least_for_share(t, False, level) for t, level in ((0.05, 0.025), (0.01, 0.025), (0.05, 0.005))] == [
        72,
        368,
        104,
    ]
    assert [seeds.for_share(n - x, n, 0.9, True, 0.025) for x, n in ((0, 36), (1, 54), (2, 70))] == [36, 54, 70]
    assert [seeds.for_mean(1.0, 0.025), seeds.for_mean(1.0, 0.005)] == [14, 21]


def test_a_nearly_perfect_rank_correlation_is_judged_though_its_pseudo_values_are_equal():
    from workbench.claims.statistics.pairs import correlation

    x = np.arange(20.0)
    y = x.copy()
    y[[3, 4]], y[[10, 11]] = y[[4, 3]], y[[11, 10]]
    found = correlation(x, y)
    assert not found.refused and found.above(0.0, False) < 0.2 < 0.9 < found.below(0.0, False)
