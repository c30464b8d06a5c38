"""Guards and computed errors of the claims on quadratics."""

import pytest
import torch

import workbench as wb
from workbench.dynamics.update_map import update_map
from workbench.papers.normalization_in_sam import quadratics


def small(**changed):
    values = {"seeds": 5, "grid_u": 3, "grid_v": 3, "quad_dim": 4, "quad_condition": 5.0, "quad_steps": 1000}
    return wb.card("normalization-in-sam").parameters(**(values | changed))


@pytest.mark.parametrize("d", [1, 2, 6])
def test_the_spectrum_ends_at_one_and_leaves_a_gap_below(d):
    problem = quadratics.random_quadratic(3, d, 10.0, 0.05)
    inner = problem.spectrum[2:]
    assert problem.spectrum[0] == 1 and len(problem.spectrum) == d
    assert ((inner >= 0.1) & (inner <= 0.95)).all()


def test_growth_lies_within_its_computed_error_and_sam_is_found_out():
    found = quadratics.growth(small())
    kept = found.predicted > -13
    assert (abs(found.rate - found.predicted) <= found.error).where(kept, True).all()
    assert quadratics.wrong_sign(found) == 0
    assert quadratics.wrong_sign(quadratics.growth(small(arms="sam"))) > 0


def test_runs_that_linger_at_a_lower_eigenvector_have_not_converged():
    """At the cycle of the second eigenvector, a breath away from the top one: the movement is small, and grows."""
    problem = wb.problems.quadratic([1.0, 0.9])
    step = update_map(problem, wb.optimizers.sam(0.5, 1.0))
    radius = {curvature: 0.5 * curvature / (2 - 0.5 * curvature) for curvature in (1.0, 0.9)}
    lingering = torch.tensor([1e-7, radius[0.9]], dtype=torch.float64)
    there = torch.tensor([radius[1.0], 0.0], dtype=torch.float64)
    assert (step(*step(lingering))[0] - lingering).norm() < 1e-4 * lingering.norm()
    assert quadratics.still_to_go(step, lingering) == torch.inf
    assert quadratics.still_to_go(step, there) < 1e-13


def test_the_distance_still_to_go_is_that_of_a_geometric_approach():
    point = torch.tensor([1.0 + 1e-3], dtype=torch.float64)
    halving = lambda x: (1 + (x - 1) * 0.5**0.5,)  # noqa: E731
    assert quadratics.still_to_go(halving, point).item() == pytest.approx(1e-3, rel=2e-3)


def test_sam_ends_on_the_cycle_within_the_computed_error_and_gradient_descent_does_not():
    ends = quadratics.ends(small())
    assert ends.off.sel(v=ends.v > 0).max() <= 1 and not ends.diverged.any()
    other = quadratics.ends(small(arms="gd"))
    assert not (other.off.sel(v=other.v > 0) <= 1).any()
