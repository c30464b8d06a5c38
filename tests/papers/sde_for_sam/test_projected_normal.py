"""Mean direction and length of a Gaussian vector: closed forms against integrals, Stein's lemma and each other."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf

from workbench import draws
from workbench.papers.sde_for_sam import projected_normal as normal

RADII = np.array([0.0, 0.03, 0.4, 1.0, 2.7, 9.0, 60.0])


def test_on_the_line_the_direction_is_a_sign():
    np.testing.assert_allclose(normal.projected_normal_mean(RADII, 1), erf(RADII / math.sqrt(2)), rtol=1e-13)
    np.testing.assert_allclose(
        normal.projected_normal_slope(RADII, 1), math.sqrt(2 / math.pi) * np.exp(-(RADII**2) / 2), rtol=1e-12
    )
    folded = [quad(lambda z, r=r: abs(r + z) * math.exp(-z * z / 2), -40, 40, points=[-r])[0] for r in RADII[:5]]
    np.testing.assert_allclose(
        normal.expected_gaussian_norm(RADII[:5], 1), np.array(folded) / math.sqrt(2 * math.pi), rtol=1e-9
    )


def test_in_three_dimensions_against_the_known_length_and_by_derivatives():
    r = RADII[1:6]
    length = math.sqrt(2 / math.pi) * np.exp(-r * r / 2) + (r + 1 / r) * erf(r / math.sqrt(2))
    np.testing.assert_allclose(normal.expected_gaussian_norm(r, 3), length, rtol=1e-13)
    h = 1e-5
    for d in (1, 2, 7, 55):
        slope = (normal.expected_gaussian_norm(r + h, d) - normal.expected_gaussian_norm(r - h, d)) / (2 * h)
        np.testing.assert_allclose(normal.projected_normal_mean(r, d), slope, rtol=1e-6)
        slope = (normal.projected_normal_mean(r + h, d) - normal.projected_normal_mean(r - h, d)) / (2 * h)
        np.testing.assert_allclose(normal.projected_normal_slope(r, d), slope, rtol=1e-5, atol=1e-11)
        np.testing.assert_allclose(
            normal.projected_normal_ratio(r, d), normal.projected_normal_mean(r, d) / r, rtol=1e-14
        )


def test_kappa_is_the_slope_at_the_origin_and_about_one_over_root_d():
    np.testing.assert_allclose([normal.kappa(d) for d in (1, 2, 7)], [0.7979, 0.6267, 0.3647], atol=5e-5)
    for d in (1, 2, 7, 300):
        assert normal.projected_normal_slope(0.0, d) == pytest.approx(normal.kappa(d), rel=1e-14)
        assert normal.projected_normal_ratio(1e-8, d) == pytest.approx(normal.kappa(d), rel=1e-14)
    assert normal.kappa(10**4) == pytest.approx(1e-2, rel=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3, 10, 55, 310])
def test_the_table_is_the_closed_form_everywhere_also_vmapped(d):
    r = np.concatenate([[0.0], np.geomspace(1e-5, 1e4, 301)])
    first, second = torch.func.vmap(lambda square: normal.direction_factors(square, d))(torch.from_numpy(r * r))
    np.testing.assert_allclose(first, normal.projected_normal_ratio(r, d), rtol=1e-11)
    # c/r - c' = r^2 times the second: the eigenvalues of J across and along.
    along = first.numpy() - second.numpy() * r * r
    np.testing.assert_allclose(along, normal.projected_normal_slope(r, d), rtol=1e-7, atol=1e-12)


def test_a_run_that_blew_up_asks_at_nan_and_infinity():
    first, second = normal.direction_factors(torch.tensor(math.nan, dtype=torch.float64), 3)
    assert first.isnan() and second.isnan()
    first, second = normal.direction_factors(torch.tensor(math.inf, dtype=torch.float64), 3)
    assert first == 0 and second == 0


def test_the_covariance_of_noise_and_direction_by_sampling():
    """Cov(Z, (g+Z)/|g+Z|) = sigma^2 J, from 400,000 samples: within four standard errors, entry by entry."""
    g, sigma, d = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64), 0.4, 3
    z = sigma * draws.normal(0, (400_000, d), stream="test")
    unit = (g + z) / (g + z).norm(dim=1, keepdim=True)
    first, second = normal.direction_factors((g @ g) / sigma**2, d)
    covariance = sigma * (first * torch.eye(d, dtype=torch.float64) - second * torch.outer(g, g) / sigma**2)
    products = z[:, :, None] * unit[:, None, :]
    error = products.std(0) / len(z) ** 0.5
    assert ((products.mean(0) - covariance).abs() < 4 * error).all()
    assert ((unit.mean(0) - first * g / sigma).abs() < 4 * unit.std(0) / len(z) ** 0.5).all()


@pytest.mark.parametrize("call", [normal.projected_normal_mean, normal.expected_gaussian_norm])
def test_bad_arguments_are_refused_in_words(call):
    with pytest.raises(ValueError, match=r"r = \|g\|/sigma must be finite and >= 0"):
        call(np.array([1.0, -0.1]), 3)
    with pytest.raises(ValueError, match="d must be an int >= 1, got 0"):
        call(1.0, 0)
