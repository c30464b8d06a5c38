"""The trace-norm estimator against optimality conditions, a reference solver and its rivals' closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from workbench.papers.trace_norm_multitask import rivals
from workbench.papers.trace_norm_multitask.data import multitask_data, subspace_basis
from workbench.papers.trace_norm_multitask.dimension import statistical_dimension
from workbench.papers.trace_norm_multitask.trace_norm import duality_gap, svt, theory_lambda, trace_norm_fit


def objective(data, weights, mu):
    residual = data.targets - torch.einsum("tmd,td->tm", data.features, weights)
    return float(0.5 * residual.square().sum() + mu * torch.linalg.svdvals(weights).sum())


@pytest.mark.parametrize("shape", [(30, 5, 8, 2), (6, 4, 12, 2), (9, 20, 5, 1)])
def test_the_minimiser_satisfies_the_optimality_conditions(shape):
    """-grad = mu (U V^T + M) with U^T M = 0, M V = 0, |M| <= 1, at singular vectors of the minimiser."""
    n_tasks, m, d, r = shape
    data = multitask_data(n_tasks, m, d, r, 1.0, seed=3)
    lam = theory_lambda(n_tasks, m, d, 1.0)
    mu = lam * m * math.sqrt(n_tasks) / 2
    fit = trace_norm_fit(data, lam, tol=1e-12, max_iter=5000)
    assert fit.gap <= 1e-12
    residual = data.targets - torch.einsum("tmd,td->tm", data.features, fit.weights)
    slope = torch.einsum("tmd,tm->td", data.features, residual) / mu
    left, values, right = torch.linalg.svd(fit.weights, full_matrices=False)
    kept = values > 1e-6 * values.max()
    left, right = left[:, kept], right[kept]
    assert torch.allclose(left.mT @ slope, right, atol=1e-5)
    assert torch.allclose(slope @ right.mT, left, atol=1e-5)
    assert torch.linalg.matrix_norm(slope, 2) <= 1 + 1e-9


def test_no_factorisation_of_full_rank_finds_less():
    """min over W = A B^T of loss + mu (|A|^2 + |B|^2)/2 is the same minimum (an independent problem, solved by L-BFGS)."""
    data = multitask_data(12, 4, 6, 2, 1.0, seed=5)
    lam = theory_lambda(12, 4, 6, 1.0)
    mu = lam * 4 * math.sqrt(12) / 2
    features, targets = data.features.numpy(), data.targets.numpy()

    def value(flat):
        left, right = flat[:72].reshape(12, 6), flat[72:].reshape(6, 6)
        residual = np.einsum("tmd,td->tm", features, left @ right.T) - targets
        slope = np.einsum("tm,tmd->td", residual, features)
        loss = 0.5 * (residual**2).sum() + 0.5 * mu * (flat**2).sum()
        return loss, np.concatenate([(slope @ right + mu * left).ravel(), (slope.T @ left + mu * right).ravel()])

    start = np.random.default_rng(0).standard_normal(108)
    found = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10})
    fit = trace_norm_fit(data, lam, tol=1e-10)
    assert objective(data, fit.weights, mu) == pytest.approx(found.fun, rel=1e-8)


def test_the_gap_bounds_the_distance_to_the_minimum_and_falls_with_the_steps():
    data = multitask_data(20, 5, 10, 2, 1.0, seed=1)
    lam = theory_lambda(20, 5, 10, 1.0)
    mu = lam * 5 * math.sqrt(20) / 2
    least = objective(data, trace_norm_fit(data, lam, tol=1e-12).weights, mu)
    for steps in (3, 10, 40):
        fit = trace_norm_fit(data, lam, max_iter=steps)
        assert 0 <= (objective(data, fit.weights, mu) - least) / least <= fit.gap + 1e-12
    assert duality_gap(data, torch.zeros_like(data.weights), mu)[1] > 0.1


def test_shrinking_singular_values():
    matrix = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    expected = left @ torch.diag((values - 0.7).clamp_min(0)) @ right
    for given, wanted in ((matrix, expected), (matrix.T, expected.T)):
        shrunk, norm = svt(given, 0.7)
        assert torch.allclose(shrunk, wanted, atol=1e-12)
        assert norm == pytest.approx(float((values - 0.7).clamp_min(0).sum()))
    assert svt(torch.zeros(3, 2, dtype=torch.float64), 0.5)[0].abs().max() == 0


def test_rotating_the_features_rotates_the_fit():
    data = multitask_data(15, 6, 8, 2, 0.5, seed=2)
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    turned = type(data)(
        data.features @ rotation, data.targets, data.weights @ rotation, rotation.T @ data.subspace, 0.5
    )
    lam = theory_lambda(15, 6, 8, 0.5)
    first, second = trace_norm_fit(data, lam, tol=1e-12), trace_norm_fit(turned, lam, tol=1e-12)
    assert torch.allclose(first.weights @ rotation, second.weights, atol=1e-5)
    assert rivals.error(first.weights, data) == pytest.approx(rivals.error(second.weights, turned), abs=1e-6)


def test_without_noise_least_squares_in_the_true_subspace_is_exact_and_so_is_the_trace_norm_with_many_samples():
    data = multitask_data(10, 24, 8, 2, 0.0, seed=0)
    assert rivals.error(rivals.oracle(data), data) < 1e-12
    assert rivals.error(rivals.single(data), data) < 1e-12
    assert rivals.error(trace_norm_fit(data, 1e-6, stages=6, tol=1e-6).weights, data) < 1e-4


def test_the_oracles_risk_is_the_wishart_mean():
    """E tr (Z^T Z)^-1 = r/(m - r - 1), checked on 40,000 tasks to four standard errors of their own."""
    data = multitask_data(40_000, 12, 4, 3, 1.0, seed=7)
    squares = (rivals.oracle(data) - data.weights).square().sum(1)
    error = float(squares.std() / math.sqrt(len(squares)))
    assert abs(float(squares.mean()) - rivals.oracle_risk(12, 3, 1.0)) < 4 * error < 0.03
    assert rivals.oracle_risk(4, 3, 1.0) == math.inf


def test_sine_distance_keeps_small_angles():
    basis = torch.eye(5, 2, dtype=torch.float64)
    for angle in (1e-10, 1e-3, 0.5, math.pi / 2):
        other = basis.clone()
        other[:, 1] = torch.tensor([0.0, math.cos(angle), math.sin(angle), 0.0, 0.0], dtype=torch.float64)
        assert rivals.sine_distance(basis, other) == pytest.approx(math.sin(angle), rel=1e-9)


def test_moments_see_nothing_of_axis_aligned_signs():
    """E y^2 x x^T = (|w|^2 + sigma^2) I + 2 w w^T + (kappa - 3) diag(w^2): for signs (kappa = 1) and w on an axis I stays."""
    data = multitask_data(20_000, 3, 6, 1, 0.5, features="rademacher", subspace="axis", seed=0)
    inputs, targets = data.features.flatten(0, 1), data.targets.flatten()
    second = (inputs * targets.square()[:, None]).mT @ inputs / len(targets)
    off = second - second.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    assert off.abs().max() < 0.05
    normal = multitask_data(20_000, 3, 6, 1, 0.5, subspace="axis", seed=0)
    assert rivals.sine_distance(normal.subspace, rivals.mom_subspace(normal, 1)) < 0.1


def test_the_statistical_dimension_has_its_limits():
    assert statistical_dimension(20, 50, 2) / 50 == pytest.approx(5.32, abs=0.04)
    assert statistical_dimension(20, 50, 4) / 50 == pytest.approx(9.10, abs=0.05)
    assert 2 * (20 + 50 - 2) < statistical_dimension(20, 50, 2) < 20 * 50


@pytest.mark.parametrize("law", ["normal", "uniform", "adversarial", "rademacher"])
def test_every_law_of_features_has_mean_zero_and_variance_one(law):
    inputs = multitask_data(4000, 5, 6, 2, 1.0, features=law, seed=0).features.flatten(0, 1)
    assert inputs.mean(0).abs().max() < 0.04
    assert (inputs.square().mean(0) - 1).abs().max() < 0.05


def test_a_part_of_the_tasks_is_the_same_tasks():
    data = multitask_data(12, 4, 6, 2, 1.0, seed=4)
    part = data.part(slice(3, 7))
    assert torch.equal(part.features, data.features[3:7]) and torch.equal(part.weights, data.weights[3:7])
    basis = subspace_basis(6, 2, seed=4)
    assert torch.equal(basis, data.subspace)
    assert torch.allclose(basis.mT @ basis, torch.eye(2, dtype=torch.float64), atol=1e-14)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r": 6}, "r must be below d"),
        ({"sigma": -1.0}, "sigma must be"),
        ({"n_tasks": 0}, "n_tasks must be"),
        ({"features": "cauchy"}, "features must be one of"),
        ({"subspace": "none"}, "subspace must be one of"),
    ],
)
def test_bad_worlds_are_refused(change, words):
    given = {"n_tasks": 5, "m": 3, "d": 6, "r": 2, "sigma": 1.0} | change
    with pytest.raises(ValueError, match=words):
        multitask_data(**given)


def test_bad_requests_of_the_solver_are_refused():
    data = multitask_data(5, 3, 6, 2, 0.0, seed=0)
    with pytest.raises(ValueError, match="theory_lambda is 0"):
        trace_norm_fit(data, theory_lambda(5, 3, 6, 0.0))
    with pytest.raises(ValueError, match="tol must be in"):
        trace_norm_fit(data, 0.1, tol=0.5)
    with pytest.raises(ValueError, match="under-determined"):
        rivals.refit(data, subspace_basis(6, 4))
