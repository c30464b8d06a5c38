"""Verdicts on samples whose truth is known."""

import math

import numpy as np
import pytest

from workbench.claims.judgement import as_array, judge
from workbench.claims.schema import Condition

STEPS = np.linspace(-1, 1, 20)  # zero mean and median, known spread


def condition(statistic, relation, threshold, **more):
    return Condition(quantity="q", statistic=statistic, relation=relation, threshold=threshold, **more)


def verdict(statistic, relation, threshold, samples, **more):
    return judge(condition(statistic, relation, threshold, **more), samples).verdict


@pytest.mark.parametrize("statistic", ["mean", "median", "bootstrap"])
@pytest.mark.parametrize(
    ("relation", "threshold", "margin", "centres"),
    # centres: of samples that make the claim true, false, undecided
    [
        ("<", 0.0, None, (-5.0, 5.0, 0.0)),
        ("<=", 2.0, None, (-3.0, 7.0, 2.0)),
        (">", 0.0, None, (5.0, -5.0, 0.0)),
        (">=", 2.0, None, (7.0, -3.0, 2.0)),
        ("in", [-2.0, 2.0], None, (0.0, 5.0, 2.0)),
        ("==", 1.0, 2.0, (1.0, -5.0, 3.0)),
    ],
)
def test_location_claims(statistic, relation, threshold, margin, centres):
    found = [verdict(statistic, relation, threshold, centre + STEPS, margin=margin) for centre in centres]
    assert found == ["reproduced", "contradicted", "inconclusive"]


@pytest.mark.parametrize(
    ("relation", "threshold", "centres"),
    [
        ("<", 1.0, (0.1, 10.0, 1.0)),
        ("<=", 0.8, (0.1, 10.0, 0.8)),
        (">", 1.0, (10.0, 0.1, 1.0)),
        (">=", 3.0, (30.0, 0.1, 3.0)),
        ("in", [0.5, 2.0], (1.0, 10.0, 2.0)),
    ],
)
def test_ratio_claims(relation, threshold, centres):
    found = [verdict("ratio", relation, threshold, centre * np.exp(STEPS / 2)) for centre in centres]
    assert found == ["reproduced", "contradicted", "inconclusive"]


@pytest.mark.parametrize(
    ("relation", "threshold", "value", "tolerance", "expected"),
    [
        ("<", 1.0, 0.9, 0.0, "reproduced"),
        ("<", 1.0, 1.0, 0.0, "contradicted"),
        ("<=", 1.0, 1.0, 0.0, "reproduced"),
        ("<=", 1.0, 1.0008, 2e-3, "reproduced"),
        ("<=", 1.0, 1.0008, 0.0, "contradicted"),
        (">", 0.0, 0.0, 0.0, "contradicted"),
        (">=", 0.0, -7e-13, 1e-6, "reproduced"),
        ("in", [0.8, 1.25], 0.8, 0.0, "reproduced"),
        ("in", [0.8, 1.25], 1.26, 0.0, "contradicted"),
        ("==", 2.0, 2.0 + 1e-13, 1e-12, "reproduced"),
        ("==", 2.0, 2.1, 1e-12, "contradicted"),
        ("<=", 5.0, math.inf, 0.0, "contradicted"),
        ("<=", 5.0, math.nan, 0.0, "inconclusive"),
    ],
)
def test_deterministic_claims(relation, threshold, value, tolerance, expected):
    assert verdict("value", relation, threshold, value, tolerance=tolerance) == expected


def test_the_worst_element_of_an_array_decides():
    found = judge(condition("value", "<=", 1.0), np.array([[0.2, 0.9], [1.5, 0.1]]))
    assert (found.verdict, found.estimate, found.n) == ("contradicted", 1.5, 4)


def test_a_nan_element_cannot_hide_a_violation_nor_pass():
    assert verdict("value", "<=", 1.0, [0.5, math.nan]) == "inconclusive"
    assert verdict("value", "<=", 1.0, [1.5, math.nan]) == "contradicted"


@pytest.mark.parametrize(
    ("relation", "threshold", "wins", "n", "expected"),
    [
        (">=", 0.95, 20, 20, "reproduced"),
        (">=", 0.95, 19, 20, "reproduced"),
        (">=", 0.95, 18, 20, "inconclusive"),
        (">=", 0.95, 12, 20, "contradicted"),
        (">=", 1.0, 19, 20, "contradicted"),
        (">=", 1.0, 5, 5, "inconclusive"),  # the exact interval of 5 of 5 reaches below 1/2
        (">=", 1.0, 6, 6, "reproduced"),
        (">=", 0.2, 12, 20, "reproduced"),
        (">=", 0.2, 5, 20, "inconclusive"),
        ("<=", 0.05, 0, 20, "reproduced"),
        ("<=", 0.05, 1, 20, "reproduced"),
        ("<=", 0.05, 12, 20, "contradicted"),
        ("<=", 0.0, 1, 20, "contradicted"),
        ("in", [0.2, 0.9], 11, 20, "reproduced"),
        ("in", [0.2, 0.5], 20, 20, "contradicted"),
        ("in", [0.4, 0.6], 10, 20, "inconclusive"),
    ],
)
def test_proportion_claims(relation, threshold, wins, n, expected):
    samples = np.arange(n) < wins
    assert verdict("proportion", relation, threshold, samples) == expected


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("statistic", ["mean", "ratio", "median", "proportion", "bootstrap"])
def test_fewer_than_five_seeds_decide_nothing(statistic, n):
    samples = np.ones(n)
    assert verdict(statistic, ">", 0.5, samples) == "inconclusive"
    assert verdict(statistic, "<", 0.5, samples) == "inconclusive"


def test_bootstrap_needs_twenty_seeds():
    assert verdict("bootstrap", "<", 100.0, STEPS[:19]) == "inconclusive"
    assert verdict("bootstrap", "<", 100.0, STEPS) == "reproduced"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("statistic", ["mean", "bootstrap"])
def test_a_mean_with_a_sample_that_is_not_finite_is_undecided_and_counted(statistic, bad):
    found = judge(condition(statistic, "<", 100.0), np.append(STEPS, bad))
    assert (found.verdict, found.not_finite, found.n) == ("inconclusive", 1, 21)
    assert "1 of 21" in found.note


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_ratio_with_an_unusable_sample_is_undecided(bad):
    assert verdict("ratio", "<", 1e9, np.append(np.ones(20), bad)) == "inconclusive"


def test_a_median_counts_diverged_runs_as_the_worst_value():
    assert verdict("median", "<", 2.0, np.append(np.ones(16), [np.inf] * 4)) == "reproduced"
    assert verdict("median", "<", 2.0, np.append(np.ones(10), [np.inf] * 10)) == "inconclusive"
    assert verdict("median", "<", 2.0, np.append(np.ones(4), [np.inf] * 16)) == "contradicted"


def test_nan_in_medians_and_proportions_helps_neither_side():
    assert verdict("median", "<", 2.0, np.append(np.ones(4), [np.nan] * 16)) == "inconclusive"
    assert verdict("proportion", ">=", 0.95, np.append(np.ones(18), [np.nan] * 2)) == "inconclusive"
    assert verdict("proportion", ">=", 1.0, np.append(np.ones(19), np.nan)) == "inconclusive"


def test_every_comparison_must_hold_and_the_worst_is_shown():
    good, doubtful, bad = STEPS - 5, STEPS, STEPS + 5
    assert verdict("mean", "<", 0.0, [good, good]) == "reproduced"
    assert verdict("mean", "<", 0.0, [good, doubtful]) == "inconclusive"
    found = judge(condition("mean", "<", 0.0), [good, bad, doubtful])
    assert (found.verdict, found.comparisons, found.n) == ("contradicted", 3, 20)
    assert found.estimate == pytest.approx(5)


def test_standard_errors_decide_as_the_paper_says():
    # mean .25, standard error .137: above zero by 1.8 standard errors.
    samples = STEPS + 0.25
    assert verdict("mean", ">", 0.0, samples, standard_errors=1.5) == "reproduced"
    assert verdict("mean", ">", 0.0, samples, standard_errors=3.0) == "inconclusive"


def test_identical_samples_have_a_point_as_interval():
    assert verdict("mean", ">", 0.5, np.ones(8)) == "reproduced"
    assert verdict("mean", "<", 0.5, np.ones(8)) == "contradicted"


def test_no_samples_decide_nothing():
    assert verdict("mean", "<", 0.0, []) == "inconclusive"
    assert verdict("value", "<", 0.0, []) == "inconclusive"


def test_tensors_and_labelled_arrays_are_samples():
    torch, xarray = pytest.importorskip("torch"), pytest.importorskip("xarray")
    np.testing.assert_array_equal(as_array(torch.ones(3, requires_grad=True) * 2), [2, 2, 2])
    labelled = xarray.DataArray(np.arange(6).reshape(3, 2), dims=("seed", "rho"))
    assert as_array(labelled).shape == (2, 3)


@pytest.mark.parametrize(
    ("statistic", "samples", "word"),
    [
        ("mean", ["a", "b"], "real numbers"),
        ("mean", [[1.0], [1.0, 2.0]], "differ in length"),
        ("mean", [1j, 2j], "complex"),
        ("proportion", [0.5, 0.7, 1.0, 0.0, 1.0], "booleans"),
        ("ratio", [-1.0, 1.0, 1.0, 1.0, 1.0], "positive"),
    ],
)
def test_samples_of_the_wrong_kind_are_refused_in_words(statistic, samples, word):
    with pytest.raises(ValueError, match=word):
        judge(condition(statistic, "<", 0.5), samples)
