"""What the notebook measures flips under its control switches."""

import math

import numpy as np
import pytest

from workbench.papers.continuized_nesterov import study


def test_the_flow_is_exact_and_euler_steps_are_not():
    exact, euler = (study.discretisation_errors(0, flow, draws=50, events=300) for flow in ("exact", "euler"))
    assert exact["flow"] <= 64 and exact["clocks"] <= 1
    assert euler["flow"] > 64 and euler["clocks"] > 1


def test_bounds_hold_with_mixing_and_fail_without():
    for scale, holds in ((1.0, True), (0.0, False)):
        curves, rate = study.strongly_convex_curves(0.01, scale)
        assert (float((curves.gap / curves.bound).max()) <= 1) == holds and (rate >= 1) == holds
        assert (float(study.convex_ratios(scale).max()) <= 1) == holds
        assert (float(study.jump_time_ratios(scale).max()) <= 1) == holds
    assert float(study.convex_ratios(sigma2=1.0).max()) <= 1 < float(study.convex_ratios(sigma2=4.0).max())
    assert study.noise_plateaus([0.01])[0] <= 1 < study.noise_plateaus([0.01], 2.0)[0]


def test_times_scale_like_the_root_of_the_condition_number():
    times = study.times_to_reach()
    slopes = np.log(times.isel(kappa=-1) / times.isel(kappa=-2)) / math.log(10)
    assert 0.25 < slopes.sel(arm="continuized") < 0.75 < slopes.sel(arm="gradient descent")
    assert slopes.sel(arm="Nesterov") < 0.75
    plain = study.times_to_reach(0.0)
    assert plain.sel(arm="continuized")[-1] > 10 * times.sel(arm="continuized")[-1]


def test_multiplicative_noise_needs_its_condition_number():
    curves, rate = study.multiplicative_curves(5, 100.0)
    assert float((curves.half / curves.bound).max()) <= 1 <= rate
    curves, rate = study.multiplicative_curves(5, 100.0, "one")
    assert float((curves.half / curves.bound).max()) > 1 > rate
    assert study.rate_gain(5, 1.0) == pytest.approx(1, abs=1e-12)
    assert 1 < study.rate_gain(5, 100.0) < study.proven_gain(5, 100.0)
    assert study.multiplicative_convex_ratio(8, horizon=100.0) <= 1
    assert study.multiplicative_convex_ratio(8, "one", horizon=100.0) > 1


def test_late_times_are_refused_for_simulation():
    ratios = study.simulated_ratios(0, 3000, [0.25])
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / 3000**0.5
    with pytest.raises(ValueError, match="runs too rare to be seen"):
        study.simulated_ratios(0, 100, [2.0])


def test_gossip_rates_exponents_and_conserved_means():
    rates = study.gossip_rates()
    assert float(rates.to_array().min()) >= 1 - 1e-9
    assert float(study.gossip_rates(gamma_z_scale=4.0).accelerated.max()) < 1
    assert float(study.gossip_rates(averaging=0.25).plain.min()) < 1
    exponents = study.gossip_exponents()
    np.testing.assert_allclose(exponents.accelerated, [-2, -2, -2, -1.5], atol=0.1)
    np.testing.assert_allclose(exponents.plain, [-3, -3, -3, -2], atol=0.1)
    assert study.mean_drift(0) <= 1 < study.mean_drift(0, one_sided=True)


def test_gossip_runs_stay_below_the_bound_on_average():
    runs = study.gossip_runs(8, range(60))
    assert (runs.distance2.mean("seed") <= runs.bound).all()
    assert study.acceleration("line", 8) > study.acceleration("complete", 5) == pytest.approx(1)
