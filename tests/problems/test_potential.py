"""phi and its minimiser: KKT conditions, limits, and the same answers however many problems are solved at once."""

import numpy as np
import pytest
import scipy.optimize
import torch

import workbench as wb
from workbench.problems import argmin_phi, phi, phi_gradient, sparse_regression

ALPHAS = [10.0, 1.0, 0.05, 1e-3, 1e-8, 1e-20]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("shape", [(20, 30, 3), (40, 100, 5)])
def test_minimiser_interpolates_and_its_gradient_lies_in_the_row_space(alpha, shape):
    n, d, k = shape
    data = sparse_regression(1, n, d, k)
    beta = argmin_phi(data.inputs, data.targets, alpha)
    assert (data.inputs @ beta - data.targets).norm() <= 1e-11
    gradient = phi_gradient(beta, alpha)
    projected = data.inputs.T @ torch.linalg.lstsq(data.inputs.T, gradient[:, None]).solution[:, 0]
    assert (gradient - projected).norm() <= 1e-9 * gradient.norm()


def test_minimiser_is_below_every_other_interpolator():
    data, alpha = sparse_regression(2), torch.linspace(0.02, 0.3, 30, dtype=torch.float64)
    beta = argmin_phi(data.inputs, data.targets, alpha)
    null_space = torch.linalg.svd(data.inputs).Vh[20:]
    for seed in range(50):
        direction = wb.draws.normal(seed, (10,)) @ null_space
        assert phi(beta + 0.01 * direction, alpha) > phi(beta, alpha)


def test_large_alpha_gives_the_least_squares_norm_solution():
    data = sparse_regression(0)
    expected = torch.linalg.pinv(data.inputs) @ data.targets
    torch.testing.assert_close(argmin_phi(data.inputs, data.targets, 1e3), expected, rtol=0, atol=1e-12)


def test_small_alpha_gives_the_basis_pursuit_solution():
    data = sparse_regression(3, n=12)
    inputs = data.inputs.numpy()
    program = scipy.optimize.linprog(np.ones(60), A_eq=np.hstack([inputs, -inputs]), b_eq=data.targets.numpy())
    expected = program.x[:30] - program.x[30:]
    np.testing.assert_allclose(argmin_phi(data.inputs, data.targets, 1e-20), expected, atol=1e-8)


def test_phi_has_its_closed_form_and_limits():
    beta = torch.linspace(-2, 2, 9, dtype=torch.float64)
    for alpha in (0.1, 1.0):
        literal = beta * torch.arcsinh(beta / (2 * alpha**2)) - torch.sqrt(beta**2 + 4 * alpha**4) + 2 * alpha**2
        torch.testing.assert_close(phi(beta, alpha), 0.25 * literal.sum())
    torch.testing.assert_close(phi(beta, 1e4), (beta**2).sum() / (16 * 1e8), rtol=1e-8, atol=0)
    tiny = 1e-60
    torch.testing.assert_close(phi(beta, tiny), 0.5 * np.log(1 / tiny) * beta.abs().sum(), rtol=1e-2, atol=0)
    assert phi(torch.zeros(3, dtype=torch.float64), 0.5) == 0


def test_phi_gradient_is_the_derivative():
    beta, alpha = torch.linspace(-1, 2, 5, dtype=torch.float64), torch.linspace(0.1, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(torch.func.grad(phi)(beta, alpha), phi_gradient(beta, alpha))


def test_minimisers_of_a_sweep_equal_those_alone():
    def solve(seed, alpha):
        data = sparse_regression(seed)
        return {"beta": argmin_phi(data.inputs, data.targets, alpha)}

    result = wb.sweep(solve, seed=range(4), alpha=[1.0, 0.05, 1e-10])
    for seed in range(4):
        for alpha in (1.0, 0.05, 1e-10):
            alone = solve(seed, alpha)["beta"]
            np.testing.assert_allclose(result.beta.sel(seed=seed, alpha=alpha), alone, atol=1e-11)


def test_shared_data_and_many_alphas():
    data = sparse_regression(0)
    alphas = torch.tensor([[0.1] * 30, [0.5] * 30], dtype=torch.float64)
    found = torch.func.vmap(argmin_phi, (None, None, 0))(data.inputs, data.targets, alphas)
    torch.testing.assert_close(found[1], argmin_phi(data.inputs, data.targets, 0.5), rtol=0, atol=1e-11)


def test_no_solution_and_non_finite_values_give_nan_not_an_error():
    inputs = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], dtype=torch.float64)
    assert torch.isnan(argmin_phi(inputs, torch.tensor([1.0, 5.0]), 0.1)).all()
    data = sparse_regression(0)
    alphas = torch.tensor([0.1, torch.nan], dtype=torch.float64)
    found = torch.func.vmap(argmin_phi, (None, None, 0))(data.inputs, data.targets, alphas)
    assert torch.isfinite(found[0]).all() and torch.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("inputs", "targets", "alpha", "words"),
    [
        ((2, 3), (2,), 0.0, "alpha must be a finite number > 0"),
        ((2, 3), (3,), 1.0, r"targets \[sample\]"),
        ((2, 3), (2,), torch.ones(2), "one per feature"),
    ],
)
def test_bad_shapes_and_values_are_refused(unchecked_shapes, inputs, targets, alpha, words):
    with pytest.raises(ValueError, match=words):
        argmin_phi(torch.ones(inputs), torch.ones(targets), alpha)
