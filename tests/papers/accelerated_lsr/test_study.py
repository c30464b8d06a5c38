"""What the notebook measures flips under its control switches."""

import numpy as np
import pytest

from workbench.papers.accelerated_lsr import study
from workbench.papers.accelerated_lsr.recursions import StepSizes, recommended
from workbench.problems.linear.designs import GaussianDesign


def test_worst_cases_have_two_exponents_and_the_bounds_hold():
    worst = study.worst_cases(16, "log4", 2048)
    assert (study.last_slopes(worst.acsgd) < -1.5).all()
    slopes = study.last_slopes(worst.sgd)
    assert ((slopes > -1.5) & (slopes < -0.5)).all()
    assert (worst.acsgd <= worst.bound).all()
    assert (study.last_slopes(study.worst_cases(16, "log4", 2048, z_weight="1").acsgd) > -1.5).all()


def test_slopes_that_have_not_settled_are_missing():
    worst = study.worst_cases(4, "log1", 16).acsgd
    assert np.isnan(study.last_slopes(worst * np.exp(-(worst.step**2) / 20.0))).all()


def test_the_floor_is_the_linear_systems_only_with_its_feedback():
    assert float(study.floor_against_solve([2, 5]).max()) <= 1
    assert float(study.floor_against_solve([2, 5], feedback=False).min()) > 1


def test_only_sampled_gradients_make_plain_acceleration_unstable():
    steps = recommended(*GaussianDesign(1 / np.arange(1.0, 11)).constants)
    assert (
        study.stability(10, "gauss", "sample", steps)["plain"]
        > 0
        > study.stability(10, "gauss", "sample", steps)["acsgd"]
    )
    assert study.stability(10, "gauss", "full", steps)["plain"] < 0
    assert study.stability(10, "gauss", "sample", StepSizes(steps.beta, steps.beta))["acsgd"] > 0


def test_exact_gradients_go_below_the_lower_bound():
    assert float(study.lower_bound_ratios([10]).min()) >= 1 - 1e-12
    np.testing.assert_allclose(study.lower_bound_ratios([10]).sel(arm="Kaczmarz"), 1, rtol=1e-12)
    assert float(study.lower_bound_ratios([10], "full").max()) < 1


def test_the_boundary_in_closed_form_and_for_small_steps():
    assert float(study.boundary_errors([3]).max()) < 1e-10
    assert float(study.boundary_errors([3], "small-steps").min()) > 1e-3
    below, above = study.growth_beside_boundary(5, (2 / 3, 1.5))
    assert below < 1 < above
    Q = study.stability_map(5, [0.5, 5.0], [0.1, 1.0])
    assert (Q.sel(ratio=0.5) < 1).all() and (Q.sel(ratio=5.0) > 1).all()
    with pytest.raises(ValueError, match="boundary must be one of exact, small-steps"):
        study.boundary_errors([3], "printed")
