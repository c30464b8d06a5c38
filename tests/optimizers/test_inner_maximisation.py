"""SA-GD: inner maximisers against closed forms, descent on problems with a flat bottom."""

import math

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.optimizers import gradient_descent, sam
from workbench.optimizers.inner_maximisation import BestOf, PowerIteration, circle_directions, sa_gd
from workbench.papers.flat_minima_sco import unseen_coordinates as unseen
from workbench.papers.flat_minima_sco import valley_truths
from workbench.papers.flat_minima_sco.adversaries import ExtraCoordinate
from workbench.papers.flat_minima_sco.flat_strips import FlatStrips, HalfParabola, circle_point, flat_strips
from workbench.papers.flat_minima_sco.visible_norm import HiddenValley
from workbench.problems import quadratic

ENDS = torch.tensor([1.0, -1.0], dtype=torch.float64)


@pytest.mark.parametrize(("start", "r", "eta"), [(0.7, 0.2, 0.1), (1.0, 0.05, 1 / 24), (0.0, 0.5, 0.25)])
def test_sam_stops_and_sa_gd_does_not(start, r, eta):
    line, first = HalfParabola(), torch.tensor(start, dtype=torch.float64)
    walked = iterates(line, sa_gd(eta, r, BestOf(line, ENDS)), 60, start=first)["w"]
    closed = line.sa_gd_risk(start, r, eta, torch.arange(60))
    torch.testing.assert_close(line.sharpness_aware_risk(walked, r), closed, rtol=1e-10, atol=1e-14)
    stopped = iterates(line, sam(eta, r), 400, start=first)["w"]
    least, most = 0.5 * (1 - eta) ** 2 * r**2, 0.5 * r**2
    assert least - 1e-15 <= line.sharpness_aware_risk(stopped[-1], r) <= most + 1e-15
    assert line.sharpness_aware_risk(suffix_averages(stopped), r).min() >= least - 1e-15
    if start == 0.0:
        assert stopped.abs().max() == 0


def test_power_iteration_finds_the_top_eigenvector():
    problem = quadratic([0.2, 0.5, 2.0], rotation=1)
    run = wb.run(problem, sa_gd(0.1, 0.3, PowerIteration(200)), steps=1, start=torch.zeros(3, dtype=torch.float64))
    # At the minimum the worst displacement is r times the sharpest direction: a step of length eta * sharpness * r.
    assert float(run.parameters.norm()) == pytest.approx(0.1 * 2.0 * 0.3, rel=1e-9)


def test_power_iteration_on_a_plateau_does_not_move():
    problem = FlatStrips(torch.eye(2, dtype=torch.float64), 0.5)
    run = wb.run(problem, sa_gd(0.1, 0.3, PowerIteration()), steps=5, start=torch.zeros(2, dtype=torch.float64))
    assert run.parameters.abs().max() == 0


def test_enumerated_maximum_on_one_strip():
    problem = FlatStrips(circle_point(0.4)[None], 0.2)
    inner, w = BestOf(problem, circle_directions(3600)), torch.tensor([0.3, -0.1], dtype=torch.float64)
    along = float((problem.normals @ w).abs())
    assert float(inner.maximum(w, 0.5)) == pytest.approx(0.5 * (along + 0.5 - 0.2) ** 2, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_both_methods_obey_the_optimisation_bound(seed):
    for rho, excess, T in [(0.0, 0.05, 16), (0.1, 0.3, 64), (0.3, -0.05, 16)]:
        problem, r = flat_strips(seed, rho), rho + excess
        bound, inner = valley_truths.optimization_bound(0.25, T, excess), BestOf(problem, circle_directions())
        start = problem.initial(seed)
        average = iterates(problem, sa_gd(0.25, r, inner), T, start=start)["w"].mean(0)
        assert inner.maximum(average, r) <= bound
        assert problem.loss(iterates(problem, sam(0.25, r), T, start=start)["w"].mean(0)) <= bound


def test_gradient_of_strips_agrees_with_automatic_differentiation():
    problem = flat_strips(3, 0.1)
    for seed in range(5):
        w = draws.normal(seed, (2,), stream="test")
        torch.testing.assert_close(problem.gradient(w), torch.func.grad(problem.loss)(w), rtol=1e-12, atol=1e-14)


def test_the_shown_coordinate_is_as_good_a_maximiser_and_harmless():
    T, rho, eta = 16, 0.1, 0.25
    samples = unseen.coins(0, 4)
    problem, r = HiddenValley(1 - 2 * samples, T, rho), valley_truths.radius(rho, 1.0, T, eta)
    path = iterates(problem, sa_gd(eta, r, ExtraCoordinate()), T)
    assert path["blocks"].abs().max() == 0
    first = {"blocks": path["blocks"][0], "extra": path["extra"][0] + r}
    assert float(problem.loss(first)) == pytest.approx(float(problem.sharpness_aware_risk(problem.initial(), r)))
    assert max(0.0, float(path["extra"].mean().abs()) - rho) == 0


def test_suffix_averages_against_their_definition():
    path = draws.normal(0, (7, 3), stream="test")
    averages = suffix_averages({"a": path, "b": path[:, 0]})
    for tau in range(7):
        torch.testing.assert_close(averages["a"][tau], path[tau:].mean(0))
        torch.testing.assert_close(averages["b"][tau], path[tau:, 0].mean(0))


def test_iterates_start_at_the_start():
    problem = quadratic([1.0])
    path = iterates(problem, gradient_descent(0.5), 3, start=torch.ones(1, dtype=torch.float64))["w"]
    torch.testing.assert_close(path[:, 0], torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64))
    assert iterates(problem, gradient_descent(0.5), 1, start=torch.ones(1, dtype=torch.float64))["w"].shape == (1, 1)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="rho"):
        sa_gd(0.1, -0.1, PowerIteration())
    with pytest.raises(ValueError, match="maximiser"):
        sa_gd(0.1, 0.1, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="iterations"):
        PowerIteration(-1)
    assert math.isclose(float(circle_directions(4)[1, 1]), 1.0)
