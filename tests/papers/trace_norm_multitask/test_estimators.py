"""The trace-norm estimator against optimality conditions, a reference solver and its rivals' closed forms."""

import math

import numpy as np
import pytest
import torch

from workbench.papers.trace_norm_multitask import agreement, rivals, study
from workbench.papers.trace_norm_multitask.data import multitask_data, subspace_basis
from workbench.papers.trace_norm_multitask.dimension import statistical_dimension
from workbench.papers.trace_norm_multitask.explorer import compute
from workbench.papers.trace_norm_multitask.trace_norm import duality_gap, svt, theory_lambda, trace_norm_fit


def objective(data, weights, mu):
    residual = data.targets - torch.einsum("tmd,td->tm", data.features, weights)
    return float(0.5 * residual.square().sum() + mu * torch.linalg.svdvals(weights).sum())


@pytest.mark.parametrize("shape", [(30, 5, 8, 2), (6, 4, 12, 2), (9, 20, 5, 1)])
def test_the_minimiser_satisfies_the_optimality_conditions(shape):
    """-grad = mu (U V^T + M) with U^T M = 0, M V = 0, |M| <= 1, at singular vectors of the minimiser."""
    T, m, d, r = shape
    data = multitask_data(T, m, d, r, 1.0, seed=3)
    lam = theory_lambda(T, m, d, 1.0)
    mu = lam * m * math.sqrt(T) / 2
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


@pytest.mark.parametrize("shape", [(12, 4, 6, 2, 1.0), (30, 6, 12, 2, 1.0), (8, 5, 20, 3, 0.3), (25, 20, 5, 1, 2.0)])
def test_proximal_burer_monteiro_and_reference_find_the_same_minimum(shape):
    """Steps of proximal gradients, L-BFGS on factors of full and of just enough rank, and a splitting method."""
    T, m, d, r, sigma = shape
    data, lam = multitask_data(T, m, d, r, sigma, seed=5), theory_lambda(T, m, d, sigma)
    fit = trace_norm_fit(data, lam, tol=1e-10, max_iter=10_000)
    assert fit.gap <= 1e-10
    least = agreement.objective(data, fit.weights, lam)
    for weights in (
        agreement.factorised_fit(data, lam, seed=1),
        agreement.factorised_fit(data, lam, rank=fit.rank + 1, seed=2),
        agreement.split_fit(data, lam, steps=2000),
    ):
        assert agreement.objective(data, weights, lam) == pytest.approx(least, rel=1e-9)
        assert torch.allclose(weights, fit.weights, atol=1e-3)
    apart = agreement.solvers([3], T=10, m=4, d=6, r=2, tol=1e-10)
    assert float(apart.max()) < 1e-9 and float(agreement.solvers([3], T=10, m=4, d=6, r=2, max_iter=3).max()) > 1e-6


@pytest.mark.parametrize(
    "case", [(50, 4, 20, 2, 0.003), (50, 10, 20, 2, 0.01), (40, 12, 20, 3, 1.0), (20, 6, 10, 2, 0.1)]
)
def test_every_fit_reaches_its_certificate_of_eight_digits(case):
    T, m, d, r, sigma = case
    fit = trace_norm_fit(multitask_data(T, m, d, r, sigma, seed=2), theory_lambda(T, m, d, sigma), max_iter=20_000)
    assert 0 <= fit.gap <= 1e-8
    found = study.along_noise([2], [0.1], [6], T=10, d=8, r=2)
    assert float(found.gap.max()) <= 1e-8


def test_degenerate_problems_have_their_trivial_minima():
    """A penalty above the norm of X^T y gives 0 with no gap; without noise and signal everything is 0."""
    data = multitask_data(6, 3, 5, 2, 1.0, seed=0)
    heavy = trace_norm_fit(data, 1e4)
    assert float(heavy.weights.abs().max()) == 0 and heavy.gap == 0 and heavy.rank == 0
    nothing = type(data)(data.features, torch.zeros_like(data.targets), data.weights * 0, data.subspace, 0.0)
    assert trace_norm_fit(nothing, 1.0).gap == 0
    assert duality_gap(data, -5 * data.weights, 1.0)[1] <= 1
    one = multitask_data(1, 1, 2, 1, 1.0, seed=0)
    assert trace_norm_fit(one, theory_lambda(1, 1, 2, 1.0), max_iter=5000).gap <= 1e-8


def test_burer_monteiro_without_a_penalty_runs_away_where_samples_are_few():
    found = study.factorised([0, 1], [4, 14], T=60, d=14, r=3, steps=[30, 500])
    ratio = found.error.isel(steps=-1) / found.trace_norm
    assert (ratio.sel(m=4) > 1).all() and (ratio.sel(m=14) < 1).all()


def test_along_sizes_and_the_map_are_the_single_comparisons():
    found = study.along_sizes([3], T=30, m=8, d=10, r=2, m_list=[6, 8], r_list=[1, 2])
    one = study.compare([3], [30], [8], d=10, r=2)
    for size in ("m", "r"):
        last = found[size].isel({size: -1}).error.squeeze()
        assert np.allclose(last, one.error.squeeze(), rtol=1e-12)
    plane = study.recovery_map([0, 1], [20, 40], [2, 12], d=8, r=1, sigma=0.01)
    assert (plane.share.sel(m=2) < 1).all() and (plane.share.sel(m=12) == 1).all()
    assert plane.threshold.values == pytest.approx([statistical_dimension(8, T, 1) / T for T in (20, 40)])


def test_the_explorer_shows_the_certified_fit():
    found = compute(T=40, m=6, seed0=3)
    data = multitask_data(40, 6, 40, 3, 1.0, seed=3)
    assert found.fit.gap <= 1e-8
    assert found.errors["trace norm"] == pytest.approx(rivals.error(found.fit.weights, data), rel=1e-12)
    assert found.errors["oracle"] == pytest.approx(rivals.error(rivals.oracle(data), data), rel=1e-12)


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
    assert rivals.error(trace_norm_fit(data, 1e-6, tol=1e-6).weights, data) < 1e-4


def test_the_oracles_risk_is_the_wishart_mean():
    """E tr (Z^T Z)^-1 = r/(m - r - 1), checked on 40,000 tasks to four standard errors of their own."""
    data = multitask_data(40_000, 12, 4, 3, 1.0, seed=7)
    squares = (rivals.oracle(data) - data.weights).square().sum(1)
    error = float(squares.std() / math.sqrt(len(squares)))
    assert abs(float(squares.mean()) - rivals.oracle_risk(12, 3, 1.0)) < 4 * error < 0.03
    assert rivals.oracle_risk(4, 3, 1.0) == math.inf
    assert rivals.oracle_risk(12, 3, 2.0, formula="r/(m-r)") == pytest.approx(4 * 3 / 9)


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
        ({"T": 0}, "T must be"),
        ({"features": "cauchy"}, "features must be one of"),
        ({"subspace": "none"}, "subspace must be one of"),
    ],
)
def test_bad_worlds_are_refused(change, words):
    given = {"T": 5, "m": 3, "d": 6, "r": 2, "sigma": 1.0} | change
    with pytest.raises(ValueError, match=words):
        multitask_data(**given)


def test_bad_requests_of_the_solver_are_refused():
    data = multitask_data(5, 3, 6, 2, 0.0, seed=0)
    with pytest.raises(ValueError, match="theory_lambda is 0"):
        trace_norm_fit(data, theory_lambda(5, 3, 6, 0.0))
    with pytest.raises(ValueError, match="tol must be in"):
        trace_norm_fit(data, 0.1, tol=0.5)
    with pytest.raises(ValueError, match="T must be"):
        theory_lambda(0, 3, 6, 1.0)
    with pytest.raises(ValueError, match="sigma must be"):
        theory_lambda(5, 3, 6, -1.0)
    with pytest.raises(ValueError, match="under-determined"):
        rivals.refit(data, subspace_basis(6, 4))
