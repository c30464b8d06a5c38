"""Moments and constants of random designs: against quadrature, against samples, and as the least with their inequality."""

import itertools

import numpy as np
import pytest
import torch

from workbench.problems import AdditiveNoise, FiniteData, GaussianDesign, OneHotDesign

H = np.array([1.0, 0.4, 0.1])


def gaussian_nodes():
    nodes, weights = np.polynomial.hermite_e.hermegauss(10)
    places = np.array(list(itertools.product(range(10), repeat=3)))
    return nodes[places] * np.sqrt(H), (weights / weights.sum())[places].prod(1)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_gaussian_moments_are_exact(power):
    features, weights = gaussian_nodes()
    length = np.square(features).sum(1) ** power * weights
    design = GaussianDesign(H, 0.5)
    np.testing.assert_allclose(design.second(power), length @ features**2, rtol=1e-11)
    fourth = design.fourth(power)
    full = np.diag(fourth.diagonal) + sum(np.outer(u, v) for u, v in fourth.factors)
    np.testing.assert_allclose(full, np.einsum("s,si,sj->ij", length, features**2, features**2), rtol=1e-11)
    np.testing.assert_allclose(design.noise(power), 0.25 * design.second(power))


@pytest.mark.parametrize("power", [0, 1, 2])
def test_one_hot_moments_are_exact(power):
    features = np.diag(np.sqrt(3 * H))
    length = np.square(features).sum(1) ** power / 3
    design = OneHotDesign(H)
    np.testing.assert_allclose(design.second(power), length @ features**2, rtol=1e-13)
    fourth = design.fourth(power)
    assert not fourth.factors
    expected = np.einsum("s,si,sj->ij", length, features**2, features**2)
    np.testing.assert_allclose(np.diag(fourth.diagonal), expected, rtol=1e-13)


@pytest.mark.parametrize("design", [GaussianDesign(H), OneHotDesign(H)], ids=["gauss", "one-hot"])
def test_constants_are_the_least_with_their_inequalities(design):
    """E |a|^2 a a^T = diag of sums over j of E a_i^2 a_j^2, and with a_j^2/h_j for the second constant."""
    fourth = design.fourth(0)
    full = np.diag(fourth.diagonal) + sum((np.outer(u, v) for u, v in fourth.factors), np.zeros((3, 3)))
    R2, kappa = design.constants
    assert (full.sum(1) / H).max() == pytest.approx(R2)
    assert (full @ (1 / H) / H).max() == pytest.approx(kappa)
    assert kappa >= 3


@pytest.mark.parametrize("design", [GaussianDesign(H, 0.5), OneHotDesign(H, 0.5)], ids=["gauss", "one-hot"])
def test_samples_follow_the_law(design):
    features, residuals = design.features(0, 40000), design.residuals(0, 40000)
    error = 4 * (features**2).std(0) / 200
    assert ((features**2).mean(0) - torch.from_numpy(H)).abs().le(error).all()
    assert residuals.var().item() == pytest.approx(0.25, rel=0.04)
    assert not torch.equal(features, design.features(0, 40000, counter=1))
    torch.testing.assert_close(features, design.features(0, 40000))


def test_finite_data_know_their_minimiser_and_hessian():
    inputs = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    data = FiniteData(inputs, inputs @ torch.tensor([2.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(data.minimiser, torch.tensor([2.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(data.hessian, inputs.mT @ inputs / 3)
    weighted = FiniteData(inputs, torch.ones(3), torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(inputs[:2] @ weighted.minimiser, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianDesign([1.0, 0.0]), "finite eigenvalues > 0"),
        (lambda: GaussianDesign([1.0, float("nan")]), "finite eigenvalues"),
        (lambda: OneHotDesign([]), "spectrum must be a list"),
        (lambda: GaussianDesign([1.0], -0.1), "sigma must be a finite number >= 0"),
        (lambda: AdditiveNoise([1.0, -2.0], -1.0), "variance must be finite numbers >= 0"),
        (lambda: FiniteData(torch.ones(2, 2), torch.tensor([0.0, float("inf")])), "must be finite"),
        (lambda: FiniteData(torch.ones(2, 2), torch.ones(2), torch.tensor([0.5, 0.6])), "sum to 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
