"""Growth rates against the eigenvalues of the update."""

import math

import pytest
import torch

import workbench as wb
from workbench.dynamics.growth import growth_rate
from workbench.optimizers import gradient_descent, heavy_ball, usam
from workbench.problems import ProductLoss, least_squares, quadratic


@pytest.mark.parametrize(("eta", "rho"), [(0.1, 0.0), (0.4, 0.7), (1.9, 3.0)])
def test_rate_of_usam_on_a_quadratic_is_the_log_of_its_largest_factor(eta, rho):
    problem = quadratic([2.0, 0.9, 0.1, -0.4], rotation=3)
    factors = 1 - eta * problem.spectrum * (1 + rho * problem.spectrum)
    rate = growth_rate(problem, usam(eta, rho), problem.minimiser, problem.initial(0), steps=400)
    assert rate.item() == pytest.approx(factors.abs().max().log().item(), abs=0.01)


def test_rate_around_a_minimiser_of_real_data():
    problem = least_squares(wb.data.load("diabetes", standardise="features", dtype=torch.float64), l2=0.1)
    rule = gradient_descent(2.2 / problem.smoothness)
    rate = growth_rate(problem, rule, problem.minimiser, problem.initial(0), steps=300)
    assert rate.item() == pytest.approx(math.log(1.2), abs=1e-3)


def test_small_displacements_see_the_linearisation():
    model, rule = ProductLoss(), usam(0.1, 0.4)
    point = torch.tensor([0.0, 3.0], dtype=torch.float64)
    rate = growth_rate(model, rule, point, torch.tensor([1.0, 0.0], dtype=torch.float64), steps=4, size=1e-6)
    assert rate.item() == pytest.approx(math.log(abs(1 - 0.1 * 9 * (1 + 0.4 * 9))), abs=1e-6)


def test_rate_is_minus_infinity_where_one_step_arrives():
    problem = quadratic([2.0, 2.0])
    rate = growth_rate(problem, gradient_descent(0.5), problem.minimiser, problem.initial(0), steps=4)
    assert rate == -math.inf


def test_rates_of_a_sweep_equal_those_alone():
    def rate(seed, eta):
        problem = quadratic([1.0, 0.3], rotation=seed)
        return {"rate": growth_rate(problem, usam(eta, 0.5), problem.minimiser, problem.initial(seed), steps=50)}

    result = wb.sweep(rate, seed=range(3), eta=[0.5, 1.9])
    assert result.rate.sel(seed=2, eta=1.9).item() == pytest.approx(rate(2, 1.9)["rate"].item(), abs=1e-10)


def test_momentum_and_too_few_steps_are_refused():
    problem = quadratic([1.0])
    with pytest.raises(ValueError, match="also carries a state"):
        growth_rate(problem, heavy_ball(0.1, 0.5), problem.minimiser, problem.initial(0), steps=10)
    with pytest.raises(ValueError, match="steps must be an int >= 2"):
        growth_rate(problem, gradient_descent(0.1), problem.minimiser, problem.initial(0), steps=1)


@pytest.mark.parametrize("at", [0.0, 1.0, 1e6, 1e12])
def test_the_rate_is_right_or_the_size_is_refused(at):
    problem = quadratic([3.0], minimiser=torch.tensor([at], dtype=torch.float64))
    direction, right = torch.ones(1, dtype=torch.float64), math.log(0.5)
    for size in (1e-12, 1e-9, 1e-3, 1.0, 1e3, 1e6):
        if size < math.sqrt(2.3e-16) * at:
            with pytest.raises(ValueError, match="size="):
                growth_rate(problem, gradient_descent(0.5), problem.minimiser, direction, 20, size=size)
        else:
            rate = growth_rate(problem, gradient_descent(0.5), problem.minimiser, direction, 20, size=size)
            assert rate.item() == pytest.approx(right, abs=1e-6)
