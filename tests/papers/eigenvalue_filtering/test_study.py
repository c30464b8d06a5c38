"""The measurements behind the claims: exact cases, and the changes of physics that must show."""

import numpy as np
import pytest
import xarray as xr

from workbench.figures import alt_text
from workbench.optimizers import by_name, filter_ratio
from workbench.papers import eigenvalue_filtering as room
from workbench.papers.eigenvalue_filtering import exact, minibatches, minima, networks, optimizers, saddles


def test_stand_ins_keep_the_momentum_scheme():
    assert optimizers.running("usam+nesterov", 0.1, rho=0.2, beta=0.5, run_as="gd").name == "gd+nesterov"
    assert optimizers.running("hessian_usam", 0.1, rho=0.2, run_as="usam").name == "usam"
    assert optimizers.running("gradient_penalty", 0.1, rho=0.2, run_as="usam").name == "gradient_penalty"
    assert optimizers.running("gd", 0.1, run_as="usam").name == "gd"


def test_the_jacobian_has_the_predicted_radius_and_not_that_of_other_physics(monkeypatch):
    monkeypatch.setattr(exact, "ALL", ("usam", "hessian_usam+heavy_ball"))
    assert float(exact.radius_errors([3]).max()) < 1
    assert float(exact.radius_errors([3], no_radius=True).max()) > 1e9
    assert float(exact.radius_errors([3], run_as="gd").max()) > 1e9


def test_band_and_radius_are_the_same_unless_c_is_wrong():
    assert exact.mismatches(11, 400) == 0
    assert exact.mismatches(11, 2000, constant=2.0) > 0


def test_minimum_has_the_sharpness_asked_for():
    u, v = minima.minimum(5.0)
    assert float(u * v) == pytest.approx(1) and float(u * u + v * v) == pytest.approx(5)


def test_minima_attract_below_the_edge_and_repel_above(monkeypatch):
    monkeypatch.setattr(minima, "ALL", ("gd", "usam+nesterov", "two_step_usam"))
    found = minima.released(1, seed0=5, steps=1500, tol=1e-10)
    assert int(found.start.notnull().sum()) == 18
    np.testing.assert_allclose(found.start.sel(side=1.02), 1.02, rtol=1e-9)
    assert float(found.moved.sel(side=0.98).max()) < 0.01 and float(found.end.sel(side=1.02).max()) < 1
    swapped = minima.released(1, seed0=5, steps=1500, tol=1e-10, mirrored=True)
    assert float(swapped.moved.sel(side=0.98).max()) > 0.01


def test_gradient_descent_in_place_of_sam_breaks_the_filter_of_sam(monkeypatch):
    monkeypatch.setattr(minima, "ALL", ("usam", "hessian_usam"))
    own = minima.factorisation_limits(30, seed0=3, steps=600, tol=1e-10)
    assert float(own.ratio.max()) <= 1 and int(own.ratio.notnull().sum()) > 50
    assert float(minima.factorisation_limits(30, seed0=3, steps=600, tol=1e-10, run_as="gd").ratio.max()) > 1.005


def test_cells_are_counted_per_set_of_starts():
    ratio = xr.DataArray(np.full((2, 3, 20), 0.5), dims=("optimizer", "step_size", "start"))
    ratio[0, 0, 4], ratio[1, 2, 5], ratio[1, 1, 19] = 0.98, 0.99, np.nan
    assert minima.cells_attained(ratio).tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0]


def test_the_sharp_minimum_disappears_at_the_critical_step_size():
    critical = minima.critical_step_sizes()
    for name, value in critical.items():
        assert filter_ratio(by_name(name, value, rho=0.1, beta=0.5), 3.0) == pytest.approx(1)
    ended = minima.basins([0.95, 1.05], 30, seed0=2, steps=1200).sum("start")
    assert (ended.sel(relative=0.95) > 0).all() and (ended.sel(relative=1.05) == 0).all()


def test_rate_at_the_saddle_within_its_computed_error():
    assert float(saddles.rate_errors([0.7, 1.5], 3, seed0=4).max()) < 1
    assert float(saddles.rate_errors([0.7, 1.5], 3, seed0=4, run_as="gd").max()) > 1e6


def test_two_cycle_of_normalised_sam():
    measured, predicted = minima.two_cycle()
    assert measured == pytest.approx(predicted, rel=1e-12)


def limits(sharpness):
    """A result with these sharpnesses (step_size, seed) for gradient descent."""
    steps = [0.2, 0.3, 0.4, 0.5]
    coords = {"optimizer": ["gd"], "step_size": steps, "seed": range(sharpness.shape[1])}
    return xr.Dataset({"sharpness": (("optimizer", "step_size", "seed"), sharpness[None])}, coords=coords)


def test_slope_is_one_on_the_edge_and_zero_where_nobody_sees_it():
    edge = networks.edge("gd", [0.2, 0.3, 0.4, 0.5], rho=0.05, beta=0.5)
    factor = np.linspace(0.8, 1, 12)
    on = networks.edge_slopes(limits(edge[:, None] * factor), rho=0.05, beta=0.5)
    np.testing.assert_allclose(networks.seed_slopes(on), 1, rtol=1e-12)
    flat = networks.edge_slopes(limits(np.ones((4, 1)) * factor), rho=0.05, beta=0.5)
    np.testing.assert_allclose(networks.seed_slopes(flat), 0, atol=1e-12)


def test_slopes_need_eight_limits_and_a_seed_all_three_step_sizes():
    values = np.ones((4, 12)) * np.linspace(1, 2, 12)
    values[3, 7:] = np.nan  # seven limits at the largest step size: the three below it count
    values[1, :2] = np.nan
    found = networks.edge_slopes(limits(values), rho=0.05, beta=0.5)
    assert len(networks.seed_slopes(found)) == 10
    values[1, :6] = np.nan
    assert networks.edge_slopes(limits(values), rho=0.05, beta=0.5) is None
    assert networks.seed_slopes(None) is None


def test_ratios_are_over_the_step_sizes_with_both_limits():
    two = xr.concat([limits(np.full((4, 5), 6.0)), limits(np.full((4, 5), 3.0))], "optimizer")
    two = two.assign_coords(optimizer=["gd", "usam"])
    two.sharpness[0, :, 1] = np.nan
    two.sharpness[1, 2:, 2] = np.nan
    np.testing.assert_allclose(networks.sharper(two, "gd", "usam"), [2.0] * 4)
    assert networks.sharper(two, "gd", "hessian_usam") is None and networks.ordering(two) is None


def test_diverged_minibatch_runs_count_as_the_worst():
    top = xr.DataArray(np.array([[3.0, 3.0], [2.0, np.nan], [1.0, 1.0], [1.0, np.nan]]), dims=("optimizer", "seed"))
    found = xr.Dataset({"sharpness": top.assign_coords(optimizer=list(networks.ORDER))})
    np.testing.assert_array_equal(minibatches.falls(found), [[1.5, 0], [2, 0], [2, 0]])


def test_the_network_obeys_its_filter_and_the_picture_says_so():
    network = room.problem("circle", 4)
    arguments = {"rho": 0.05, "beta": 0.5, "steps": 600, "tol": 1e-8, "seed0": 1}
    found = room.trained(network, ["gd", "usam"], [0.3, 0.5], 3, **arguments)
    assert float(found.highest.max()) <= 1 and float(found.lowest.min()) > -1e-8
    assert "limits" in room.counts(found)
    assert "diverged" in alt_text(room.draw_edges(found, rho=0.05, beta=0.5))


def test_figures_tell_what_they_draw():
    assert "USAM lets pass -5.52 to -2.5 and 0 to 3.02" in alt_text(room.draw_filters(0.3, 0.4))
    after = xr.DataArray([[0.98, 0.98]], dims=("excess", "kick"), coords={"excess": [0.02]})
    assert "0.02 to 0.02" in alt_text(room.draw_mirror(after))
