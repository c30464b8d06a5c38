"""Crossings, times, slopes and limits are those of the formula that made the data; what never came is never early."""

import math

import numpy as np
import pytest
import xarray as xr

from workbench.dynamics.times import (
    first_crossing,
    halving_limit,
    local_slopes,
    log_log_slope,
    time_to_reach,
    worst_over,
)


def series(values, places=None, dim="step"):
    values = np.asarray(values, dtype=float)
    dims = ("seed", dim) if values.ndim == 2 else (dim,)
    return xr.DataArray(values, dims=dims, coords={dim: range(values.shape[-1]) if places is None else places})


@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.0, 1.5])
def test_powers_have_their_exponent_everywhere(exponent):
    n = np.array([1.0, 3.0, 4.0, 20.0])
    data = series(np.outer([1.0, 7.0], n**exponent), n, "n")
    slopes = local_slopes(data, "n")
    assert slopes.dims == ("seed", "n")
    np.testing.assert_allclose(slopes, np.full((2, 3), exponent), atol=1e-12)
    np.testing.assert_allclose(slopes.n, np.sqrt(n[1:] * n[:-1]))
    np.testing.assert_allclose(log_log_slope(data, "n"), [exponent] * 2, atol=1e-12)


def test_a_fitted_slope_is_that_of_polyfit_over_the_chosen_range():
    n, generator = np.geomspace(1, 100, 9), np.random.default_rng(0)
    data = series(np.exp(generator.normal(size=(3, 9))), n, "n")
    inside = (n >= 3) & (n <= 60)
    expected = np.polyfit(np.log(n[inside]), np.log(data.values[:, inside]).T, 1)[0]
    np.testing.assert_allclose(log_log_slope(data, "n", low=3, high=60), expected)


def test_slopes_beside_zero_or_missing_values_are_missing():
    slopes = local_slopes(series([8.0, 4.0, 0.0, 2.0, np.nan], [1, 2, 3, 4, 5], "n"), "n")
    assert np.isfinite(slopes).values.tolist() == [True, False, False, False]
    assert np.isnan(log_log_slope(series([8.0, 4.0, 0.0], [1, 2, 3], "n"), "n"))


def test_crossing_of_a_line_and_of_an_exponential():
    t = np.linspace(0, 5, 11)
    assert float(first_crossing(series(3 - t, t), 1.3)) == pytest.approx(1.7)
    assert float(first_crossing(series(t - 3, t), 1.3, to="above")) == pytest.approx(4.3)
    decay = series(np.exp(-2 * t), t)
    assert float(first_crossing(decay, 1e-3, log=True)) == pytest.approx(math.log(1e3) / 2)
    assert float(first_crossing(decay, decay.isel(step=3).drop_vars("step"))) == t[3]


@pytest.mark.parametrize("function", [first_crossing, time_to_reach])
def test_what_never_comes_is_infinite_and_what_is_not_there_is_missing(function):
    rows = [[4, 3, 2.5], [4, np.nan, np.nan], [4, np.inf, np.nan], [np.nan, np.nan, np.nan], [1, 4, 4], [4, 2, 1]]
    found = function(series(rows), 2.0)
    assert found.dims == ("seed",) and found.dtype == np.float64
    assert found.values.tolist()[:3] == [np.inf] * 3
    assert np.isnan(found[3]) and found.values.tolist()[4:] == [0.0, 1.0]


def test_levels_may_differ_from_run_to_run():
    levels = xr.DataArray([3.0, 1.0], dims="seed")
    data = series([[4, 3, 2, 1], [4, 3, 2, 1]])
    assert time_to_reach(data, levels).values.tolist() == [1, 3]
    assert first_crossing(data, levels).values.tolist() == [1, 3]


def test_records_at_other_steps_are_no_gap():
    """A series recorded every third step, aligned with one recorded at every step."""
    sparse = series([4, np.nan, np.nan, 1, np.nan, np.nan, 2, np.nan, np.nan, 1])
    assert float(time_to_reach(sparse, 1.5)) == 3 and float(time_to_reach(sparse, 2.0, hold=3)) == 3
    assert float(time_to_reach(sparse, 1.5, hold=2)) == math.inf and float(time_to_reach(sparse, 1.5, hold=0)) == 9
    assert float(first_crossing(sparse, 2.5)) == pytest.approx(1.5)


def brute(values, level, hold):
    for k in range(len(values)):
        window = values[k : k + hold] if hold else values[k:]
        if len(window) >= max(hold, 1) and all(value <= level for value in window):
            return k
    return math.inf


@pytest.mark.parametrize("hold", [0, 1, 2, 3])
def test_holding_equals_its_definition(hold):
    data = np.random.default_rng(hold).random((60, 7))
    found = time_to_reach(series(data), 0.6, hold=hold)
    assert found.values.tolist() == [brute(row, 0.6, hold) for row in data]
    above = time_to_reach(series(-data), -0.6, to="above", hold=hold)
    assert above.values.tolist() == found.values.tolist()


def test_a_run_that_ends_early_did_not_stay():
    assert float(time_to_reach(series([4, 1, 1, np.nan]), 2.0, hold=0)) == math.inf


def test_the_worst_start_is_named_and_a_lost_run_is_worse_than_all():
    ends = xr.DataArray([[1.0, 3.0], [2.0, np.nan]], dims=("start", "rho"), coords={"start": ["near", "far"]})
    worst = worst_over(ends)
    assert worst.values.tolist() == [2.0, np.inf] and worst.worst_start.values.tolist() == ["far", "far"]
    least = worst_over(ends, largest=False)
    assert least.values.tolist() == [1.0, -np.inf] and least.worst_start.values.tolist() == ["near", "far"]


@pytest.mark.parametrize("order", [1.0, 2.0])
def test_halving_removes_the_leading_term_and_its_error_covers_the_rest(order):
    h = 0.4 / 2.0 ** np.arange(5)
    values = xr.DataArray(1 + h**order + 0.3 * h ** (order + 1), dims="h", coords={"h": h})
    found = halving_limit(values, "h", order=order)
    assert abs(float(found.limit) - 1) < 0.1 * abs(float(values[-1]) - 1)
    assert abs(float(found.limit) - 1) <= float(found.error)
    T = 2.0 ** np.arange(3, 9)
    doubled = halving_limit(xr.DataArray(5 - 3 / T, dims="T", coords={"T": T}), "T")
    assert float(doubled.limit) == pytest.approx(5, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: local_slopes(series([1.0, 2.0]), "n"), "no dimension 'n'"),
        (lambda: local_slopes(series([1.0, 2.0]), "step"), "step starts at 0"),
        (lambda: local_slopes(series([1.0, 2.0], [2, 1]), "step"), "increasing"),
        (lambda: local_slopes([1.0, 2.0], "step"), "xarray.DataArray, got list"),
        (lambda: log_log_slope(series([1.0, 2.0], [1, 2]), "step", low=2), "a slope needs two"),
        (lambda: first_crossing(series([1.0, 2.0]), 1.0, to="down"), "'below' or 'above'"),
        (lambda: time_to_reach(series([1.0, 2.0]), 1.0, hold=-1), "hold"),
        (lambda: time_to_reach(series([1.0, 2.0]), 1.0, hold=1.5), "hold"),
        (lambda: halving_limit(series([1.0, 2.0, 3.0], [1, 2, 3]), "step"), "half or twice"),
        (lambda: worst_over(series([1.0])), "no dimension 'start'"),
    ],
)
def test_unusable_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
