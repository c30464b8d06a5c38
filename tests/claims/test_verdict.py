"""Verdicts on samples whose truth is known: regions, kinds of samples, conditions of a claim together."""

import math

import numpy as np
import pytest

from workbench.claims.judging.family import HOLDS, UNDECIDED, VIOLATED
from workbench.claims.judging.measuring import measure
from workbench.claims.statistics.samples import as_array
from workbench.claims.verdict import verdict_along, verdict_of
from workbench.claims.written.condition import Condition
from workbench.claims.written.regions import Region, compressed
from workbench.claims.written.schema import Claim

STEPS = np.linspace(-1, 1, 20)


def condition(statistic, relation, threshold, **more):
    return Condition(quantity="q", statistic=statistic, relation=relation, threshold=threshold, **more)


def verdict(statistic, relation, threshold, samples, **more):
    return measure(condition(statistic, relation, threshold, **more), samples).verdict


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize(
    ("relation", "threshold", "margin", "centres"),
    [  # centres of samples that make the claim true, false, undecided
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
    ("relation", "threshold", "value", "tolerance", "expected"),
    [
        ("<", 1.0, 0.9, 0.0, "reproduced"),
        ("<", 1.0, 1.0, 0.0, "contradicted"),
        (">", 1.0, 1.0 + 1e-15, 0.0, "contradicted"),  # beyond by rounding alone
        (">", 1.0, 1.001, 0.01, "contradicted"),  # beyond by less than its computed error
        ("<=", 1.0, 1.0, 0.0, "reproduced"),
        ("<=", 1.0, 1.0008, 2e-3, "reproduced"),
        ("<=", 1.0, 1.0008, 0.0, "contradicted"),
        (">=", 0.0, -7e-13, 1e-6, "reproduced"),
        ("in", [0.8, 1.25], 0.8, 0.0, "reproduced"),
        ("==", 2.0, 2.0 + 1e-13, 1e-12, "reproduced"),
        ("==", 0.7, 0.8, 0.1, "reproduced"),  # decimal ends: 0.7 + 0.1 is 0.8
        ("==", 2.0, 2.1, 1e-12, "contradicted"),
        ("<=", 5.0, math.inf, 0.0, "contradicted"),
        ("<=", 5.0, math.nan, 0.0, "inconclusive"),
    ],
)
def test_exact_statements(relation, threshold, value, tolerance, expected):
    assert verdict("value", relation, threshold, value, tolerance=tolerance) == expected


def test_the_worst_element_decides_and_nan_neither_hides_nor_passes():
    one = measure(condition("value", "<=", 1.0), np.array([[0.2, 0.9], [1.5, 0.1]]))
    assert (one.verdict, one.estimate, one.n) == ("contradicted", 1.5, 4)
    assert verdict("value", "<=", 1.0, [0.5, math.nan]) == "inconclusive"
    assert verdict("value", "<=", 1.0, [1.5, math.nan]) == "contradicted"


# Public bug reports of other tools, tried here: K1 constants and ends, K2 scale, K3 masks.
@pytest.mark.parametrize("statistic", ["mean", "ratio"])
def test_no_constant_at_the_end_of_a_closed_region_is_anything_but_reproduced(statistic):
    for n in (6, 7, 10, 19, 30):
        for x in (0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 1.1, 0.05, 2.2):
            for relation, threshold in (("<=", x), (">=", x), ("in", [x / 2, x]), ("in", [x, 2 * x])):
                one = measure(condition(statistic, relation, threshold), [x] * n)
                assert (one.verdict, one.estimate, one.low, one.high) == ("reproduced", x, x, x)
            assert verdict(statistic, "<", x, [x] * n) == verdict(statistic, ">", x, [x] * n) == "contradicted"


def test_a_control_of_equal_arms_gives_zero_which_is_not_above_zero():
    assert verdict("mean", ">", 0.0, np.zeros(12)) == "contradicted"
    assert verdict("mean", ">=", 0.0, np.zeros(12)) == "reproduced"
    assert "may differ" in measure(condition("mean", ">=", 0.0), np.zeros(12)).note


def test_a_verdict_does_not_depend_on_the_scale():
    base = np.array([1.0, -2, 3, 4, -1, 2])
    found = [measure(condition("mean", ">", 0.0), base * 2.0**k) for k in (0, -600, 600)]
    assert {one.verdict for one in found} == {"inconclusive"} and len({one.p for one in found}) == 1


def test_decimal_ends_hold_over_seeds_too():
    assert verdict("median", "==", 0.7, [0.8] * 8, margin=0.1) == "reproduced"
    assert verdict("mean", "==", 0.7, [0.8] * 8, margin=0.1) == "reproduced"


@pytest.mark.parametrize("statistic", ["mean", "median", "ratio", "share", "value"])
def test_masked_and_missing_samples_count_as_missing(statistic):
    pandas = pytest.importorskip("pandas")
    values = [1.0, 1.0, 0.0 if statistic == "share" else 0.9, 1.0, 1.0, 1.0]
    mask = [0, 0, 0, 0, 0, 1]
    missing = pandas.array([1.0, 1.0, 0.9, 1.0, 1.0, None], dtype="Float64")
    for samples in (np.ma.array([*values[:5], -1e3 if statistic != "share" else 1.0], mask=mask), missing):
        if statistic == "share" and samples is missing:
            continue
        one = measure(condition(statistic, ">=", 0.5), samples)
        assert one.not_finite == 1 and abs(one.estimate) < 2


def test_shares_have_to_lie_in_the_region_with_their_interval():
    assert verdict("share", ">=", 0.9, np.arange(10) < 10) == "inconclusive"  # printed "always", ten seeds
    assert verdict("share", ">=", 0.9, np.arange(36) < 36) == "reproduced"
    assert verdict("share", ">=", 0.9, np.arange(20) < 12) == "contradicted"
    assert verdict("error_rate", "<=", 0.05, np.zeros(71)) == "inconclusive"
    assert verdict("error_rate", "<=", 0.05, np.zeros(72)) == "reproduced"


def test_nan_helps_neither_side():
    assert verdict("median", "<", 2.0, np.append(np.ones(4), [np.nan] * 16)) == "inconclusive"
    assert verdict("share", ">=", 0.6, np.append(np.ones(18), [np.nan] * 2)) == "reproduced"
    assert verdict("share", ">=", 0.9, np.append(np.ones(19), np.nan)) == "inconclusive"
    one = measure(condition("mean", "<", 100.0), np.append(STEPS, math.inf))
    assert (one.verdict, one.not_finite, one.p) == ("inconclusive", 1, UNDECIDED) and "1 of 21" in one.note


def test_strict_and_closed_ends_differ_for_medians_with_ties():
    samples = np.append(np.full(12, 0.0), np.ones(8))
    assert verdict("median", ">=", 0.0, samples) == "reproduced"
    assert verdict("median", ">", 0.0, samples) != "reproduced"


def test_every_comparison_must_hold_and_contradiction_pays_for_its_chances():
    good, doubtful, bad = STEPS - 5, STEPS, STEPS + 5
    assert verdict("mean", "<", 0.0, [good, good]) == "reproduced"
    assert verdict("mean", "<", 0.0, [good, doubtful]) == "inconclusive"
    one = measure(condition("mean", "<", 0.0), [good, bad, doubtful])
    assert (one.verdict, one.comparisons, one.n) == ("contradicted", 3, 20) and one.estimate == pytest.approx(5)
    barely = STEPS + 0.3  # contradicted alone (p near .017), not as one of ten
    assert verdict("mean", "<", 0.0, barely) == "contradicted"
    assert verdict("mean", "<", 0.0, [barely] + [good] * 9) == "inconclusive"


def test_a_narrow_two_ended_region_pays_for_its_two_ends():
    narrow = condition("mean", "in", [0.0, 1e-3])
    one = measure(narrow, STEPS + 0.295)
    assert (
        one.verdict == "inconclusive"
        and measure(condition("mean", "<=", 1e-3), STEPS + 0.295).verdict == "contradicted"
    )


def claim(*conditions, **more):
    named = [one.model_copy(update={"name": f"c{k}"}) for k, one in enumerate(conditions)]
    return Claim(id="c", statement="s", source="T1", origin="derived", condition=named, **more)


def test_all_some_and_exact_conditions_together():
    mean, exact = condition("mean", "<", 0.0), condition("value", "<=", 1.0)
    good, bad, doubtful = STEPS - 5, STEPS + 5, STEPS
    both, either = claim(mean, mean), claim(mean, mean, require="some")
    assert verdict_of(both, {"c0": good, "c1": doubtful}).verdict == "inconclusive"
    assert verdict_of(both, {"c0": good, "c1": bad}).verdict == "contradicted"
    assert verdict_of(either, {"c0": good, "c1": bad}).verdict == "reproduced"
    assert verdict_of(either, {"c0": bad, "c1": bad}).verdict == "contradicted"
    mixed = claim(mean, exact)
    assert verdict_of(mixed, {"c0": good, "c1": 0.5}).verdict == "reproduced"
    assert verdict_of(mixed, {"c0": good, "c1": 1.5}).p == VIOLATED
    assert verdict_of(claim(exact), {"c0": 0.5}).p == HOLDS


def test_along_a_size_the_verdict_is_the_range():
    one = claim(condition("mean", "<", 1.0), along="n")
    centres = {4: 0.2, 8: 0.2, 16: 0.2, 32: 2.0}
    found = verdict_along(one, {"c0": {n: centre + 0.1 * STEPS for n, centre in centres.items()}})
    assert found.verdict == "contradicted" and [s.state for s in found.sizes] == ["holds", "holds", "holds", "fails"]
    assert "holds for n = 4 … 16, fails at 32" in repr(found)
    inside = verdict_along(
        claim(condition("mean", "<", 1.0), along="n", range=[4, 16]),
        {"c0": {n: centre + 0.1 * STEPS for n, centre in centres.items()}},
    )
    assert inside.verdict == "reproduced" and inside.sizes[-1].state == "fails"


def test_a_trend_that_leaves_the_region_is_not_reproduced():
    one = claim(condition("value", "<", 1.0), along="alpha")
    found = verdict_along(one, {"c0": {0.1: 0.5, 0.01: 0.7, 0.001: 0.8, 0.0001: 0.83}})
    assert found.verdict == "reproduced"  # the margin shrinks, ever more slowly, towards smaller alpha
    leaving = verdict_along(one, {"c0": {0.4: 0.3, 0.2: 0.6, 0.1: 0.9}})
    assert leaving.verdict == "inconclusive" and "the trend leaves the region" in repr(leaving)


def test_tensors_and_labelled_arrays_are_samples_and_other_things_are_refused():
    torch, xarray = pytest.importorskip("torch"), pytest.importorskip("xarray")
    np.testing.assert_array_equal(as_array(torch.ones(3, requires_grad=True) * 2), [2, 2, 2])
    assert as_array(xarray.DataArray(np.arange(6).reshape(3, 2), dims=("seed", "rho"))).shape == (2, 3)
    for statistic, samples, word in (
        ("mean", ["a"], "real numbers"),
        ("mean", [[1], [1, 2]], "rectangular"),
        ("share", [0.5] * 10, "booleans"),
        ("ratio", [-1.0] * 10, "positive"),
        ("pooled", [1.0] * 10, "tuple"),
        ("slope", [1.0] * 10, "tuple"),
    ):
        with pytest.raises(ValueError, match=word):
            verdict(statistic, ">", 0.5, samples)


def test_no_samples_decide_nothing():
    assert verdict("mean", "<", 0.0, []) == verdict("value", "<", 0.0, []) == "inconclusive"


def test_positions_are_shares_of_the_threshold():
    assert Region(high=0.8).position(0.4, 0.64, 0.88) == (-0.1, 0.2, 0.5)
    assert Region(low=0.0, low_closed=False).position(-0.5, 0.75, 2.0) == (-0.25, 0.375, 1.0)
    assert Region(0.8, 1.2).position(0.9, 1.0, 1.1).low == pytest.approx(0.5)
    assert Region(0.0, 0.0).position(0.0, 0.0, 0.0).middle == 1.0
    assert Region(high=1.0).position(0.1, math.nan, 1.0) is None
    assert compressed(Region(high=1.0).position(0.1, 0.5, math.inf).low) == -1.0


def test_tolerance_and_margin_print_the_same_region():
    assert condition("value", "==", 2.0, tolerance=0.15).region.words() == "= 2 ± 0.15"
    assert condition("mean", "==", 2.0, margin=0.15).region.words() == "= 2 ± 0.15"
    assert condition("value", "<=", 1.0, tolerance=1e-3).region.words("pp") == "≤ 1.001 pp"
    assert condition("mean", "in", [0.8, 1.25], ends="[)").region.words() == "in [0.8, 1.25)"
