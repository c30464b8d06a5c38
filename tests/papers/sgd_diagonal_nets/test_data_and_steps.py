"""The data law number for number, the l1 solution by its certificate, Kaczmarz's step by the maps of the samples."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.papers.sgd_diagonal_nets.data import minimum_l1, sparse_data
from workbench.papers.sgd_diagonal_nets.step_size import kaczmarz_step, stability_of_start, theorem_step
from workbench.problems.factorised.diagonal_potential import argmin_phi


def test_the_law_is_numpys():
    data = sparse_data(7, n=6, d=11, k=3)
    g = np.random.default_rng(7)
    inputs, truth = g.standard_normal((6, 11)), np.zeros(11)
    truth[:3] = g.standard_normal(3)
    assert np.array_equal(data.inputs.numpy(), inputs) and np.array_equal(data.truth.numpy(), truth)
    np.testing.assert_allclose(data.targets.numpy(), inputs @ truth, rtol=1e-14)
    swept = wb.sweep(lambda seed: {"x": sparse_data(seed, 6, 11, 3).inputs}, seed=[3, 7], progress=False)
    assert np.array_equal(swept.x.sel(seed=7).values, inputs)


@pytest.mark.parametrize("sizes", [{"n": 30, "d": 30}, {"k": 0}, {"k": 101}, {"n": 1}])
def test_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="must be"):
        sparse_data(0, **sizes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_l1_solution_has_a_certificate_and_is_the_potentials_limit(seed):
    g = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(6, 14, generator=g).double(), torch.randn(6, generator=g).double()
    beta = minimum_l1(inputs, targets)
    support = beta.abs() > 1e-9
    torch.testing.assert_close(inputs @ beta, targets, rtol=0, atol=1e-10)
    # Duality: X^T nu = sign(beta) on the support and within [-1, 1] elsewhere.
    nu = torch.linalg.lstsq(inputs[:, support].T, beta[support].sign()).solution
    multiplier = inputs.T @ nu
    torch.testing.assert_close(multiplier[support], beta[support].sign(), rtol=0, atol=1e-10)
    assert multiplier.abs().max() <= 1 + 1e-10
    nearly = argmin_phi(inputs, targets, 1e-40).abs().sum()
    assert 1 - 1e-12 <= float(nearly / beta.abs().sum()) < 1.005


def test_no_interpolator_is_said():
    with pytest.raises(ValueError, match="no interpolator"):
        minimum_l1(torch.ones(2, 3).double(), torch.tensor([0.0, 1.0]).double())


def test_below_kaczmarz_step_every_residual_contracts_in_mean_and_above_some_do_not():
    inputs, beta = sparse_data(3, n=5, d=12, k=2).inputs, wb.draws.normal(1, (12,))
    kernel = inputs @ torch.diag(2 * beta.abs()) @ inputs.T  # of the network with w+ w- -> 0 and this predictor
    gamma = float(kaczmarz_step(inputs, beta))
    inverse = torch.linalg.inv(kernel)

    def change(gamma):
        """The quadratic form of E|r+|^2 - |r|^2 in the norm of A^-1: one map for each sample."""
        total = torch.zeros_like(kernel)
        for i in range(5):
            step = torch.eye(5).double()
            step[:, i] -= gamma * kernel[:, i]
            total += (step.T @ inverse @ step - inverse) / 5
        return torch.linalg.eigvalsh(total)

    assert change(0.98 * gamma).max() < 0 < change(1.02 * gamma).max()


def test_gradient_descent_on_one_sample_converges_below_its_step_alone():
    """One sample alone: r+ = (1 - gamma A) r with gamma* = 2/A, so |r| falls iff gamma < gamma*."""
    inputs, beta = torch.tensor([[1, 2]]).double(), torch.tensor([0.3, -0.2], dtype=torch.float64)
    network = wb.problems.diagonal_network((inputs, inputs @ beta), 1e-4)
    solution = torch.stack([beta.clamp(min=1e-12).sqrt(), (-beta).clamp(min=1e-12).sqrt()])
    gamma = float(kaczmarz_step(inputs, beta))
    for factor, contracts in ((0.95, True), (1.05, False)):
        start = solution * (1 + 1e-6)
        run = wb.run(network, wb.optimizers.gradient_descent(factor * gamma), start=start, steps=20, progress=False)
        shrunk = network.residuals(run.parameters).abs() < network.residuals(start).abs()
        assert bool(shrunk) is contracts


def test_the_starts_number_is_the_kernels_diagonal():
    inputs, alpha = sparse_data(1, n=4, d=7, k=2).inputs, torch.linspace(0.1, 0.4, 7, dtype=torch.float64)
    start = torch.stack([alpha, alpha])
    diagonal = [2 * ((start**2).sum(0) * row * row).sum() for row in inputs]
    assert float(stability_of_start(inputs, alpha, 0.3)) == pytest.approx(0.3 * float(max(diagonal)), rel=1e-13)


def test_the_theorems_step():
    inputs = math.sqrt(3) * torch.eye(3, 5).double()  # X^T X/n has top eigenvalue 1
    beta = torch.tensor([0.5, -0.5, 0, 0, 0]).double()
    small = 1 / (400 * math.log(8) * math.log(math.sqrt(2) / 1e-4))
    large = 1 / (400 * math.log(40) * 5 * 100)
    assert float(theorem_step(inputs, beta, 0.01)) == pytest.approx(small, rel=1e-12)
    assert float(theorem_step(inputs, beta, 10.0, p=0.1)) == pytest.approx(large, rel=1e-12)
    with pytest.raises(ValueError, match="p must"):
        theorem_step(inputs, beta, 0.01, p=0.7)
