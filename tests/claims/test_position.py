"""Where an interval is drawn agrees with what the verdict says of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.claims.position import claimed, compressed, measured, position

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


def condition(relation, threshold, low, high, **more):
    return {
        "relation": relation,
        "threshold": threshold,
        "estimate": (low + high) / 2,
        "low": low,
        "high": high,
        **more,
    }


@given(st.sampled_from(["<=", ">=", "in"]), NUMBERS, st.floats(0.01, 1e3), NUMBERS, st.floats(0, 1e3))
def test_side_of_the_threshold_is_inside_or_outside_the_region(relation, threshold, width, low, spread):
    high = low + spread
    left = -math.inf if relation == "<=" else threshold
    right = threshold if relation == "<=" else threshold + width if relation == "in" else math.inf
    bound = [left, right] if relation == "in" else threshold
    place = position(condition(relation, bound, low, high))
    assert place.low <= place.middle <= place.high
    near = 1e-9 * max(abs(threshold), abs(width), 1)
    if left + near <= low and high <= right - near:
        assert place.low >= 0
    elif high < left - near or low > right + near:
        assert place.high <= 0
    elif low < left - near or high > right + near:
        assert place.low <= 0 <= place.high


def test_share_is_the_relative_distance_in_units_of_the_threshold():
    assert position(condition("<=", 0.8, 0.4, 0.88)) == (-0.1, 0.2, 0.5)
    assert position(condition(">=", 10.0, 11.0, 21.0)) == (0.1, 0.6, 1.1)


def test_zero_threshold_is_measured_against_the_interval_itself():
    assert position(condition(">", 0.0, -0.5, 2.0)) == (-0.25, 0.375, 1.0)


def test_tolerance_and_margin_widen_the_region():
    assert position(condition("==", 1.0, 1.1, 1.1, tolerance=0.2)).middle == pytest.approx(0.5)
    assert position(condition("==", 1.0, 0.9, 1.1, margin=0.2)).low == pytest.approx(0.5)
    assert position(condition("<=", 1.0, 1.0005, 1.0005, tolerance=1e-3)).middle > 0


def test_exact_equality_is_inside_only_when_met():
    assert position(condition("==", 0, 0, 0)).middle == 1.0
    assert position(condition("==", 0, 3, 3)).middle < 0


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"relation": "<=", "threshold": 1.0},
        {"relation": "<=", "threshold": 1.0, "estimate": "nan"},
        {"relation": "<=", "threshold": "soon", "estimate": 1.0},
        {"relation": "~", "threshold": 1.0, "estimate": 1.0},
        {"relation": "in", "threshold": [1.0], "estimate": 1.0},
    ],
)
def test_what_was_not_measured_has_no_position(record):
    assert position(record) is None


def test_infinite_ends_are_drawn_at_the_edge():
    place = position({"relation": "<=", "threshold": 1.0, "estimate": 0.5, "low": 0.1, "high": "inf"})
    assert place.low == -math.inf and compressed(place.low) == -1.0


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_compression_keeps_order_and_sign(a, b):
    assert (compressed(a) <= compressed(b)) or a > b
    assert compressed(a) * a >= 0 and abs(compressed(a)) <= 1


def test_words_keep_the_side_of_the_threshold():
    close = condition("<=", 1.0, 0.99951, 0.99969)
    assert measured(close) == "0.9996 [0.9995, 0.9997]" and claimed(close) == "≤ 1"
    assert measured({"relation": "<=", "threshold": 1.0}) == ""
    assert claimed({"relation": "in", "threshold": [0.8, 1.25], "unit": "pp"}) == "in [0.8, 1.25] pp"
