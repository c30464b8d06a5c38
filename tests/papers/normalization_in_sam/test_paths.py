"""Paths on l(xy) in plain floats: the library's steps, SAM's drift, USAM's trap."""

import numpy as np
import pytest

import workbench as wb
from workbench.papers.normalization_in_sam.paths import product_path
from workbench.problems import ProductLoss, drift_rate, trapped_level

KINDS = ["sqrt", "logcosh"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rule", "make"), [("usam", wb.optimizers.usam), ("sam", wb.optimizers.sam)])
def test_plain_floats_take_the_steps_that_tensors_take(kind, rule, make):
    model = ProductLoss(kind, imbalance_at_start=5.0, offset=-0.4)
    run = wb.run(model, make(0.07, 0.3), steps=60, record=["x", "y"], every=1)
    path = product_path(kind, tuple(model.initial(0).tolist()), rule, 0.07, 0.3, 60)
    np.testing.assert_allclose(path[:, 0], run.records["x"].value, atol=1e-12)
    np.testing.assert_allclose(path[:, 1], run.records["y"].value, atol=1e-12)


def test_sam_does_not_move_at_a_minimum_with_zero_gradient():
    assert (product_path("sqrt", (0.0, 2.0), "sam", 0.1, 0.3, 5) == [0.0, 2.0]).all()


def test_diverged_path_ends_in_nan():
    path = product_path("sqrt", (0.3, 2.0), "usam", 1e9, 0.5, 10)
    assert np.isfinite(path[0]).all() and np.isnan(path[-1]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("eta", "rho"), [(0.03, 0.15), (0.08, 0.07)])
def test_sam_drifts_at_the_predicted_rate(kind, eta, rho):
    rate = drift_rate(eta, rho)
    x, y = product_path(kind, (0.2, 3.0), "sam", eta, rho, round(6 / rate)).T
    inside = (y**2 < 4.5) & (y > 2 * rho) & (y < 0.3 / rho)
    slope = np.polyfit(np.flatnonzero(inside), np.log((y**2 - x**2)[inside]), 1)[0]
    assert -slope / rate == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.03, 0.4, 2.0])
def test_trapped_level_is_the_root_and_usam_stops_there(rho):
    eta = 0.11
    level = trapped_level(eta, rho)
    assert eta * level * (1 + rho * level) == pytest.approx(2.0)
    end = product_path("sqrt", (0.3, 6.0), "usam", eta, rho, 6000)[-1]
    assert abs(end[0]) < 1e-6 and 0.85 <= end[1] ** 2 / min(36.0, level) <= 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: product_path("sqrt", (0.1, 1.0), "adam", 0.1, 0.1, 5), "rule must be one of"),
        (lambda: product_path("huber", (0.1, 1.0), "sam", 0.1, 0.1, 5), "kind must be one of"),
    ],
)
def test_unknown_names_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
