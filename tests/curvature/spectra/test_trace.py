"""Trace, diagonal and Frobenius norm: exact cases, unbiasedness, and standard errors that are true."""

import numpy as np
import pytest
import torch

from workbench.curvature import diagonal, frobenius_norm, trace

SIZE = 200


def quadratic(eigenvalues, dtype=torch.float64):
    values = torch.as_tensor(np.asarray(eigenvalues), dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    matrix = ((basis * values) @ basis.mT).to(dtype)
    matrix = (matrix + matrix.mT) / 2
    return (lambda w: 0.5 * w @ matrix @ w), torch.zeros(SIZE, dtype=dtype), matrix


SPECTRA = {
    "decaying": 10 * np.exp(-np.arange(SIZE) / 10.0),
    "indefinite, flat": np.linspace(-1, 1.6, SIZE),
    "outliers and bulk": np.concatenate([[50.0, 20, -10], np.linspace(-0.1, 1, SIZE - 3)]),
}
TRUTH = {
    trace: lambda matrix: matrix.trace(),
    frobenius_norm: lambda matrix: matrix.norm(),
    diagonal: lambda matrix: matrix.diagonal(),
}


@pytest.mark.parametrize("estimate", TRUTH)
@pytest.mark.parametrize("name", SPECTRA)
def test_standard_errors_cover(name, estimate):
    loss, origin, matrix = quadratic(SPECTRA[name])
    runs = 200
    value, error = torch.func.vmap(lambda seed: estimate(loss, origin, products=40, seed=seed))(torch.arange(runs))
    misses = (value - TRUTH[estimate](matrix)).abs()
    # Student's 95 % interval for about 14 terms; 90 % allows for the binomial scatter of 200 runs.
    assert (misses <= 2.15 * error).double().mean() >= 0.90
    spread = value.std(0).square().mean().sqrt()
    claimed = error.square().mean().sqrt()
    assert 0.8 * spread <= claimed <= 1.6 * spread


@pytest.mark.parametrize("estimate", [trace, diagonal])
def test_unbiased(estimate):
    loss, origin, matrix = quadratic(SPECTRA["decaying"])
    value = torch.func.vmap(lambda seed: estimate(loss, origin, products=20, seed=seed).value)(torch.arange(400))
    standard = value.std(0) / 20
    assert ((value.mean(0) - TRUTH[estimate](matrix)).abs() <= 4.5 * standard).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("estimate", TRUTH)
def test_exact_for_low_rank(estimate, dtype):
    loss, origin, matrix = quadratic([5.0, 4, 3, -2] + [0.0] * (SIZE - 4), dtype)
    value, error = estimate(loss, origin, products=16)
    close = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(value, TRUTH[estimate](matrix), rtol=close, atol=close)
    assert error.max() < close


@pytest.mark.parametrize("estimate", TRUTH)
def test_exact_with_as_many_products_as_parameters_and_zero_for_zero(estimate):
    loss, origin, matrix = quadratic(SPECTRA["decaying"])
    value, error = estimate(loss, origin, products=SIZE)
    torch.testing.assert_close(value, TRUTH[estimate](matrix), rtol=1e-10, atol=1e-12)
    assert not error.any()
    value, error = estimate(lambda w: (0 * w**2).sum(), origin)
    assert not value.any() and not error.any()


def test_error_falls_faster_than_independent_probes():
    loss, origin, matrix = quadratic(SPECTRA["outliers and bulk"])
    error = torch.func.vmap(lambda seed: trace(loss, origin, products=40, seed=seed).value)(torch.arange(60)).std()
    hutchinson = (2 * (matrix.square().sum() - matrix.diagonal().square().sum()) / 40).sqrt()
    assert error < 0.2 * hutchinson


def test_runs_under_vmap_equal_single_runs_and_nan_stays_nan():
    loss, origin, _ = quadratic(SPECTRA["decaying"])
    points = torch.stack([origin, origin + 0.1, origin * float("nan")])

    def quartic(w):
        return loss(w) + (w**4).sum()

    together = torch.func.vmap(lambda w: trace(quartic, w, seed=3))(points)
    for index in range(2):
        torch.testing.assert_close(together.value[index], trace(quartic, points[index], seed=3).value)
    assert together.value[2].isnan()


def test_too_few_products():
    loss, origin, _ = quadratic(SPECTRA["decaying"])
    with pytest.raises(ValueError, match="products=2"):
        trace(loss, origin, products=2)


@pytest.mark.parametrize("estimate", [trace, frobenius_norm])
@pytest.mark.parametrize("name", SPECTRA)
def test_errors_from_few_terms_are_widened_for_it(name, estimate):
    loss, origin, matrix = quadratic(SPECTRA[name])
    value, error = torch.func.vmap(lambda seed: estimate(loss, origin, products=16, seed=seed))(torch.arange(400))
    covered = (value - TRUTH[estimate](matrix)).abs() <= 1.96 * error
    # Of normal terms 95 %; the terms are skewed, and unwidened it would be .80 to .87.
    assert covered.double().mean() >= 0.86
