"""Update maps, converged runs and the audit of frozen ones, against the linear theory of arXiv:2510.09034."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.dynamics.limits import converged, perturbation_audit
from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers import by_name, filter_ratio, max_sharpness, update_radius
from workbench.papers.eigenvalue_filtering.critical_point import critical_point

KINDS = ["gd", "usam", "two_step_usam", "nested_usam", "hessian_usam", "gradient_penalty"]
F = wb.problems.ScalarFactorisation()


def minimum(sharpness):
    """The point u v = 1 with u^2 + v^2 = sharpness."""
    u = (math.sqrt(sharpness + 2) + math.sqrt(sharpness - 2)) / 2
    return torch.tensor([u, 1 / u], dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("momentum", ["", "+heavy_ball", "+nesterov"])
def test_jacobian_at_a_critical_point_has_the_predicted_radius(kind, momentum):
    point = critical_point(seed=3)
    rule = by_name(kind + momentum, 0.4, rho=0.2, beta=0.7)
    jacobian = wb.curvature.update_jacobian(update_map(point, rule), *resting(rule, point.point))
    assert wb.curvature.spectral_radius(jacobian).item() == pytest.approx(
        update_radius(rule, point.spectrum.numpy()).max(), rel=1e-12
    )


def test_the_map_is_the_step_that_run_takes():
    rule = by_name("usam+nesterov", 0.1, rho=0.1, beta=0.5)
    state = resting(rule, F.initial(4))
    for _ in range(5):
        state = update_map(F, rule)(*state)
    end = wb.run(F, rule, seed=4, steps=5)
    torch.testing.assert_close(state[0], end.parameters, rtol=0, atol=1e-15)
    torch.testing.assert_close(state[1], end.state, rtol=0, atol=1e-15)


def test_runs_converge_below_the_edge_and_not_in_a_cycle_or_to_infinity():
    rule = wb.optimizers.gradient_descent(0.5)
    settled = wb.run(F, rule, start=minimum(3.0) + 1e-3, steps=2000)
    assert converged(F, rule, settled)
    cycle = wb.optimizers.sam(0.1, 0.2)
    bowl = wb.problems.quadratic([1.7])
    assert not converged(bowl, cycle, wb.run(bowl, cycle, steps=2000))
    wild = wb.optimizers.gradient_descent(3.0)
    assert not converged(bowl, wild, wb.run(bowl, wild, steps=200))


def test_a_moving_run_with_a_vanishing_gradient_has_not_converged():
    rule = wb.optimizers.heavy_ball(0.1, 0.9)
    run = wb.run(F, rule, start=torch.tensor([1.0, 1.0], dtype=torch.float64), steps=1)
    moving = torch.ones(2, dtype=torch.float64)
    assert converged(F, rule, run)
    assert not converged(F, rule, dataclasses.replace(run, state=moving))


def test_the_ratio_is_one_at_the_edge_and_may_differ_from_run_to_run():
    def ratio(step_size, rho):
        rule = by_name("usam+heavy_ball", step_size, rho=rho, beta=0.5)
        return {"ratio": filter_ratio(rule, torch.tensor(2.0, dtype=torch.float64))}

    swept = wb.sweep(ratio, step_size=[0.1, 0.3], rho=[0.0, 0.2]).ratio
    for step_size in (0.1, 0.3):
        for rho in (0.0, 0.2):
            rule = by_name("usam+heavy_ball", step_size, rho=rho, beta=0.5)
            assert filter_ratio(rule, max_sharpness(rule)) == pytest.approx(1.0, rel=1e-9)
            assert float(swept.sel(step_size=step_size, rho=rho)) == pytest.approx(step_size * 2 * (1 + 2 * rho) / 3)


def test_audit_frees_an_unstable_minimum_and_leaves_a_stable_one():
    rule = wb.optimizers.gradient_descent(0.2)
    unstable = perturbation_audit(F, rule, minimum(10 * 1.03), copies=3, steps=3000)
    np.testing.assert_allclose(unstable.before, 1.03, rtol=1e-12)
    assert (
        bool(unstable.converged.all()) and bool((unstable.ratio < 1).all()) and bool((unstable.distance > 0.01).all())
    )
    stable = perturbation_audit(F, rule, minimum(10 * 0.97), copies=3, steps=3000)
    np.testing.assert_allclose(stable.ratio, 0.97, atol=1e-5)


def test_the_audit_runs_in_the_parameters_own_precision():
    problem = wb.problems.classifier(wb.data.load("digits", train=20), hidden=[2])
    rule = wb.optimizers.gradient_descent(0.1)
    audit = perturbation_audit(problem, rule, wb.run(problem, rule, steps=3).parameters, copies=2, steps=2)
    assert np.isfinite(audit.distance).all()


def test_limits_beyond_the_usual_blowup_can_be_audited():
    problem = wb.problems.quadratic([1.0], minimiser=torch.tensor([1e9], dtype=torch.float64))
    rule = wb.optimizers.gradient_descent(0.5)
    audit = perturbation_audit(problem, rule, problem.minimiser, copies=2, size=1.0, steps=200, tol=1e-6, blowup=1e12)
    assert audit.converged.all() and not audit.diverged.any()


def test_kicks_below_rounding_are_refused():
    problem = wb.problems.quadratic([1.0], minimiser=torch.tensor([1e12], dtype=torch.float64))
    with pytest.raises(ValueError, match="size=1e-06 is lost"):
        perturbation_audit(problem, wb.optimizers.gradient_descent(0.5), problem.minimiser)
