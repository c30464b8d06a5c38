"""Spectral density: exact where small, moments and errors where estimated."""

import numpy as np
import pytest
import torch

from workbench.curvature import spectral_density
from workbench.curvature.spectra.band import _like, deviation, simultaneous
from workbench.curvature.spectra.density import _gauss
from workbench.draws import generator

SIZE = 600


def quadratic(eigenvalues):
    values = torch.as_tensor(np.asarray(eigenvalues), dtype=torch.float64)
    return lambda w: 0.5 * (values * w**2).sum()


def origin(size=SIZE):
    return torch.zeros(size, dtype=torch.float64)


def smoothed(grid, eigenvalues, width):
    bells = np.exp(-0.5 * ((np.asarray(grid)[:, None] - np.asarray(eigenvalues)) / float(width)) ** 2)
    return bells.mean(1) / (float(width) * np.sqrt(2 * np.pi))


def test_small_problems_are_exact_and_say_so():
    eigenvalues = np.concatenate([[4.0, 4.0], np.linspace(-1, 1, 48)])
    result = spectral_density(quadratic(eigenvalues), origin(50), width=0.1)
    assert result.exact and "exact" in repr(result)
    assert not result.standard_error.any() and not result.quadrature_error.any()
    assert torch.equal(result.band, result.density[:, None].expand(-1, 2))
    np.testing.assert_allclose(result.density, smoothed(result.grid, eigenvalues, 0.1), rtol=1e-10, atol=1e-12)
    assert np.trapezoid(result.density, result.grid) == pytest.approx(1, abs=0.01)


def test_estimate_agrees_with_the_truth_within_its_errors():
    eigenvalues = np.concatenate([np.linspace(5, 6, 60), np.linspace(-1, 1, SIZE - 60) ** 3])
    result = spectral_density(quadratic(eigenvalues), origin(), width=0.1, steps=40)
    assert not result.exact and result.nodes.shape == (8, 40)
    truth = smoothed(result.grid, eigenvalues, 0.1)
    allowed = 4 * result.standard_error.numpy() + 2 * result.quadrature_error.numpy() + 1e-9
    assert (np.abs(result.density.numpy() - truth) <= allowed).mean() > 0.97
    # The rules' first moments estimate those of the spectrum.
    first = (result.nodes * result.weights).sum(1)
    assert abs(float(first.mean()) - eigenvalues.mean()) <= 4 * float(first.std()) / 8**0.5


def test_quadrature_error_is_seen_when_steps_are_too_few():
    eigenvalues = np.linspace(-1, 1, SIZE) ** 3
    fine = spectral_density(quadratic(eigenvalues), origin(), width=0.05, steps=60, grid=200)
    with pytest.warns(UserWarning, match="more steps or a larger width"):
        coarse = spectral_density(quadratic(eigenvalues), origin(), width=0.05, steps=8, grid=200)
    assert coarse.band[:, 1].isinf().all() and fine.band.isfinite().all()
    converged = spectral_density(quadratic(eigenvalues), origin(), width=0.05, steps=150, grid=coarse.grid)
    error = (coarse.density - converged.density).abs()
    assert fine.quadrature_error.max() < 1e-3 < coarse.quadrature_error.max()
    assert error.max() <= 4 * coarse.quadrature_error.max()


def test_few_distinct_eigenvalues_exhaust_the_krylov_space_harmlessly():
    result = spectral_density(quadratic([-2.0] * 100 + [3.0] * (SIZE - 100)), origin(), width=0.1, probes=20)
    below = result.weights[result.nodes < 0].sum() / 20
    assert float(below) == pytest.approx(1 / 6, abs=0.05)
    significant = result.nodes[result.weights > 1e-12]
    assert all(min(abs(node + 2), abs(node - 3)) < 1e-9 for node in significant.tolist())


def test_gauss_rule_integrates_polynomials_exactly():
    # Lanczos coefficients of the measure with weights (1/4, 3/4) at (0, 2).
    nodes, weights = _gauss(torch.tensor([[1.5, 0.5]]), torch.tensor([[0.75**0.5]]))
    torch.testing.assert_close(nodes, torch.tensor([[0.0, 2.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"), [({"probes": 1}, "probes=1"), ({"steps": 2}, "steps=2"), ({"width": -1.0}, "width=-1.0")]
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        spectral_density(quadratic(np.ones(10)), origin(10), **change)


def test_diverged_parameters_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        spectral_density(quadratic(np.ones(10)), origin(10) + float("nan"))


def test_two_probes_give_no_band():
    with pytest.warns(UserWarning, match="at least 4 are needed"):
        result = spectral_density(quadratic(np.linspace(0, 1, SIZE)), origin(), probes=2, width=0.1)
    assert result.band[:, 1].isinf().all() and not result.band[:, 0].any()


BANDED = {
    "outliers and bulk": np.concatenate([[30.0, 20.0, 12.0, -5.0], np.linspace(-0.2, 1.0, SIZE - 4)]),
    "decaying": 1 / np.arange(1, SIZE + 1),
    "one outlier, all others equal": np.concatenate([[10.0], np.full(SIZE - 1, 0.1)]),
}


@pytest.mark.parametrize("name", BANDED)
def test_the_band_holds_the_whole_density_as_often_as_promised(name):
    values, size = BANDED[name], SIZE
    width = np.ptp(values) / 100
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, 200)
    truth = smoothed(grid, values, width)
    held = []
    for seed in range(60):
        # What a converged quadrature would find: each probe's weights on the eigenvalues themselves.
        normal = generator(seed, "test").standard_normal((8, SIZE)) ** 2
        weights = (normal / normal.sum(1, keepdims=True)).mean(0)
        bells = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2) / (width * (2 * np.pi) ** 0.5)
        found = bells @ weights
        error = deviation(found, bells**2 @ weights, size, 8)
        half = simultaneous(grid, error, values, weights, width, size, 8, seed)
        held.append((np.abs(found - truth) <= half).all())
    # Of 60 seeds 57 are expected; 50 leaves room for their binomial scatter (three standard deviations).
    assert sum(held) >= 50


def test_the_variance_of_a_density_is_that_of_dirichlet_weights():
    # Two probes of three eigenvalues, each weighing 0, 1 and 4: Var = 2/(P + 2) (mean K^2 - (mean K)^2) / probes.
    bells = np.array([0.0, 1.0, 4.0])
    exact = 2 / 5 * (bells**2).mean() - 2 / 5 * bells.mean() ** 2
    assert deviation(bells.mean(), (bells**2).mean(), 3, 2) == pytest.approx((exact / 2) ** 0.5)
    weights = generator(0, "test").standard_normal((200_000, 3)) ** 2
    found = weights @ bells / weights.sum(1)
    assert found.var() == pytest.approx(exact, rel=0.02)


def test_an_outlier_of_small_weight_is_one_eigenvalue_in_the_simulated_spectrum():
    values, counts = _like(np.array([0.0, 10.0]), np.array([0.997, 0.003]), 0.1, 100)
    np.testing.assert_allclose(values, [0, 10], atol=0.01)
    np.testing.assert_allclose(counts, [99.7, 1.0])
