"""Trace, diagonal and Frobenius norm: exact cases, unbiasedness, and standard errors that are true."""

import numpy as np
import pytest
import scipy.stats
import torch

from workbench.curvature import diagonal, frobenius_norm, trace
from workbench.curvature.spectra.estimate import mean_square_interval, plug_in, student_quantile

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
    value, error, _ = torch.func.vmap(lambda seed: estimate(loss, origin, products=40, seed=seed))(torch.arange(runs))
    misses = (value - TRUTH[estimate](matrix)).abs()
    # 95 % are promised; three binomial standard deviations of 200 runs below.
    assert (misses <= 1.96 * error).double().mean() >= 0.904
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
    value, error, _ = estimate(loss, origin, products=16)
    close = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(value, TRUTH[estimate](matrix), rtol=close, atol=close)
    assert error.max() < close


@pytest.mark.parametrize("estimate", TRUTH)
def test_exact_with_as_many_products_as_parameters_and_zero_for_zero(estimate):
    loss, origin, matrix = quadratic(SPECTRA["decaying"])
    value, error, _ = estimate(loss, origin, products=SIZE)
    torch.testing.assert_close(value, TRUTH[estimate](matrix), rtol=1e-10, atol=1e-12)
    assert not error.any()
    value, error, _ = estimate(lambda w: (0 * w**2).sum(), origin)
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


SKEWED = SPECTRA | {
    "power law": 1 / np.arange(1, SIZE + 1),
    "one outlier and equal ones": np.concatenate([[100.0], np.full(SIZE - 1, 0.01)]),
    "opposite pairs": np.concatenate([[30.0, -30.0, 10.0, -10.0], np.linspace(-0.2, 0.2, SIZE - 4)]),
}


@pytest.mark.parametrize("estimate", TRUTH)
@pytest.mark.parametrize("name", SKEWED)
def test_intervals_from_few_products_hold_the_value_of_skewed_spectra(name, estimate):
    loss, origin, matrix = quadratic(SKEWED[name])
    value, error, interval = torch.func.vmap(lambda seed: estimate(loss, origin, products=16, seed=seed))(
        torch.arange(300)
    )
    truth, rounding = TRUTH[estimate](matrix), 1e-12 * matrix.norm()
    held = (interval[..., 0] - rounding <= truth) & (truth <= interval[..., 1] + rounding)
    # 95 % are promised; three binomial standard deviations of 300 runs below.
    assert held.double().mean() >= 0.912
    assert ((value - 1.96 * error - 1e-9 <= interval[..., 0]) & (interval[..., 1] <= value + 1.96 * error + 1e-9)).all()


def test_a_multiple_of_the_identity_has_an_exact_trace():
    # As under weight decay: signs would see it too, Gaussian vectors only on the sphere.
    value, error, interval = trace(lambda w: 1.5 * w @ w, torch.zeros(SIZE, dtype=torch.float64), products=10)
    torch.testing.assert_close(value, torch.tensor(3.0 * SIZE, dtype=torch.float64))
    assert error < 1e-9 and interval[1] - interval[0] < 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("estimate", TRUTH)
def test_intervals_without_statistical_error_hold_the_value_to_rounding(estimate, dtype):
    values = torch.tensor([5.0, 4, 3, -2] + [0.0] * (SIZE - 4)).double()
    for loss, matrix in (
        quadratic(values, dtype)[::2],
        (lambda w: 0.5 * w @ w, torch.eye(SIZE, dtype=dtype)),
        (lambda w: 0.5 * 3.7 * w[7] ** 2, torch.diag(3.7 * torch.eye(SIZE, dtype=dtype)[7])),
    ):
        interval = torch.func.vmap(
            lambda seed, loss=loss: estimate(loss, torch.zeros(SIZE, dtype=dtype), products=20, seed=seed).interval
        )(torch.arange(20))
        truth = TRUTH[estimate](matrix.double())
        assert ((interval[..., 0] <= truth) & (truth <= interval[..., 1])).double().mean() > 0.98


def test_too_few_fresh_vectors_give_an_interval_of_hardly_any_use_not_a_guess():
    loss, origin, matrix = quadratic(SKEWED["outliers and bulk"])
    least = torch.func.vmap(lambda seed: frobenius_norm(loss, origin, products=6, seed=seed))(torch.arange(100))
    many = torch.func.vmap(lambda seed: frobenius_norm(loss, origin, products=30, seed=seed))(torch.arange(100))
    assert least.interval[:, 1].median() > 10 * matrix.norm() > 9 * many.interval[:, 1].max()
    held = (least.interval[:, 0] <= matrix.norm()) & (matrix.norm() <= least.interval[:, 1])
    assert held.double().mean() >= 0.88


def test_degrees_of_freedom_of_a_mean_of_squares():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(400, 300, generator=generator, dtype=torch.float64)
    singular = torch.tensor([3.0, 2, 1] + [0.0] * 297, dtype=torch.float64)
    mean, degrees = plug_in(vectors * singular, 300)
    assert mean == pytest.approx(9 + 4 + 1, rel=0.1)
    # (sum s)^2 / sum s^2 of the squared values, less the share of the identity on the sphere.
    assert degrees == pytest.approx(400 / ((81 + 16 + 1) / 14**2 - 1 / 300), rel=0.1)
    assert plug_in(torch.ones(5, 2).double(), 10**9)[1] == pytest.approx(5)


def test_quantiles_of_many_degrees_at_once_and_one_by_one():
    degrees = torch.tensor([3.0, 17.5, 400.0], dtype=torch.float64)
    right = torch.as_tensor(scipy.stats.t.ppf(0.975, degrees))
    torch.testing.assert_close(student_quantile(degrees), right)
    torch.testing.assert_close(torch.func.vmap(student_quantile)(degrees), right)
    # For very many terms the level is the normal one: the chi-squared interval itself.
    low, high = mean_square_interval(torch.tensor(2.0).double(), degrees[1], 10**9)
    assert low == pytest.approx(2 * 17.5 / scipy.stats.chi2.ppf(0.975, 17.5))
    assert high == pytest.approx(2 * 17.5 / scipy.stats.chi2.ppf(0.025, 17.5))
