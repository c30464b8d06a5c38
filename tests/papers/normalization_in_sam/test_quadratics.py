"""Guards and computed errors of the claims on quadratics."""

import pytest
import torch

import workbench as wb
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
    """At the cycle of the second eigenvector, a breath away from the top one: little movement, and growing."""
    problem = wb.problems.quadratic([1.0, 0.9])
    made = wb.optimizers.sam(0.5, 1.0)
    cycle = 0.5 * 0.9 / (2 - 0.5 * 0.9)
    start = torch.tensor([1e-7, cycle], dtype=torch.float64)
    step = wb.dynamics.update_map(problem, made)
    moves = []
    for _ in range(41):
        after = step(*step(start))[0]
        moves.append(float((after - start).norm() / start.norm()))
        start = after
    assert moves[0] < 1e-4 and moves[-1] > moves[0]


def test_sam_ends_on_the_cycle_within_the_computed_error_and_gradient_descent_does_not():
    ends = quadratics.ends(small())
    assert ends.off.sel(v=ends.v > 0).max() <= 1 and not ends.diverged.any()
    other = quadratics.ends(small(arms="gd"))
    assert not (other.off.sel(v=other.v > 0) <= 1).any()
