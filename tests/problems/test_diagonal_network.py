"""Diagonal networks: the two parametrisations, the published numbers, the theory of the effective initialisation."""

import itertools

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.optimizers import gradient_descent, heavy_ball, m_sam, sam, usam
from workbench.problems import (
    argmin_phi,
    decay_rate,
    diagonal_network,
    first_order_decay_rate,
    rho_for_stability_number,
    sam_stability_number,
    sparse_regression,
)

RULES = {
    "gradient descent": lambda: (gradient_descent(0.1), {}),
    "heavy ball": lambda: (heavy_ball(0.05, 0.5), {}),
    "n-SAM": lambda: (usam(0.1, 0.3), {}),
    "m-SAM": lambda: (m_sam(0.1, 0.2, m=5, normalize=False), {}),
    "SGD": lambda: (gradient_descent(0.02), {"batch_size": 2}),
}


def test_the_data_are_those_of_the_public_notebook():
    generator = np.random.RandomState(7)
    inputs = generator.multivariate_normal(np.zeros(30), np.eye(30), 20)
    test_inputs = generator.multivariate_normal(np.zeros(30), np.eye(30), 1000)
    theta = generator.randn(30)
    theta[3:] = 0
    theta = np.abs(theta) / np.linalg.norm(theta)
    data = sparse_regression(7)
    np.testing.assert_array_equal(data.inputs.numpy(), inputs)
    np.testing.assert_array_equal(data.truth.numpy(), theta)
    np.testing.assert_allclose(data.targets.numpy(), inputs @ theta, rtol=1e-14)
    network = diagonal_network(data, 0.1)
    parameters = network.start_from(torch.linspace(0.1, 1, 30)) * torch.tensor([[1.3], [0.7]])
    beta = network.predictor(parameters).numpy()
    expected = 0.5 * np.mean((test_inputs @ (beta - theta)) ** 2)
    assert network.test_loss(parameters).item() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_both_parametrisations_have_the_same_dynamics(name):
    rule, batches = RULES[name]()
    data = sparse_regression(2)

    def end(parametrisation):
        network = diagonal_network(data, 0.05, parametrisation)
        run = wb.run(network, rule, seed=5, steps=300, **batches)
        return network, run.parameters

    squares, w = end("squares")
    product, uv = end("product")
    torch.testing.assert_close(torch.stack([w[0] + w[1], w[0] - w[1]]), uv, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        squares.effective_initialisation(w), product.effective_initialisation(uv), rtol=1e-8, atol=0
    )
    torch.testing.assert_close(squares.squared_scale(w), product.squared_scale(uv), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(squares.test_loss(w), product.test_loss(uv), rtol=1e-9, atol=0)


def test_multiplicative_recipe_of_m_sam():
    """One step against the recipe w+ *= 1 - gamma mean_S(h_S (1 + rho g_S)), written out sample by sample."""
    data, gamma, rho, m = sparse_regression(4), 0.2, 0.5, 4
    inputs, targets = data.inputs.numpy(), data.targets.numpy()
    network = diagonal_network(data, 0.3)
    start = network.initial() * torch.linspace(0.5, 1.5, 60, dtype=torch.float64).reshape(2, 30)
    plus, minus = start.numpy()
    up, down = np.zeros(30), np.zeros(30)
    for group in np.arange(20).reshape(-1, m):
        residual = inputs[group] @ (plus**2 - minus**2) - targets[group]
        g = residual @ inputs[group] / m
        a, b = 1 + rho * g, 1 - rho * g
        h = (inputs[group] @ ((plus * a) ** 2 - (minus * b) ** 2) - targets[group]) @ inputs[group] / m
        up, down = up + h * a / 5, down + h * b / 5
    expected = np.stack([plus * (1 - gamma * up), minus * (1 + gamma * down)])
    found = wb.run(network, m_sam(gamma, rho, m=m, normalize=False), start=start, steps=1).parameters
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_one_sam_with_one_sample_a_group_equals_the_generic_gradient():
    network = diagonal_network(sparse_regression(0), 0.2)
    point = network.initial() * 1.7
    for i in range(3):
        batch = (network.inputs[i : i + 1], network.targets[i : i + 1])
        generic = torch.func.grad(network.batch_loss)(point, batch)
        torch.testing.assert_close(network.gradient(point, batch), generic, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("rule", "alpha", "published"),
    [
        (gradient_descent(10 / 30), 0.05, 0.0157477626),
        (m_sam(10 / 30, 0.06, m=1, normalize=False), 0.05, 9.12793329e-3),
    ],
)
@pytest.mark.slow
def test_published_test_losses(rule, alpha, published):
    run = wb.run(diagonal_network(sparse_regression(0), alpha), rule, steps=10001, record=["test_loss"], at=[10001])
    assert run.records["test_loss"].value.item() == pytest.approx(published, rel=1e-8)


def test_small_steps_conserve_the_effective_initialisation_at_first_order():
    def drift(step_size):
        network = diagonal_network(sparse_regression(1), 0.1)
        steps = round(10 / step_size)
        return (
            network.log_decay(wb.run(network, gradient_descent(step_size), steps=steps).parameters).abs().max().item()
        )

    coarse, fine = drift(0.05), drift(0.0125)
    assert fine < 0.02
    assert coarse / fine == pytest.approx(4.0, rel=0.1)


def test_discrete_gradient_descent_shrinks_alpha_by_the_exact_product():
    network, gamma = diagonal_network(sparse_regression(3), 0.1), 0.2
    point, product = network.initial(), torch.ones(30, dtype=torch.float64)
    for _ in range(50):
        product = product * (1 - gamma**2 * network.residual_correlation(point) ** 2)
        point = point - gamma * network.gradient(point)
    torch.testing.assert_close(network.effective_initialisation(point) ** 2, 0.01 * product, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("m", "rho", "rule"), [(1, 0.1, "m"), (20, 0.3, "n"), (5, 0.1, "m")])
def test_decay_of_the_effective_initialisation_follows_the_exact_rate(m, rho, rule):
    def gap(gamma):
        network = diagonal_network(sparse_regression(0), 0.05)
        chosen = m_sam(gamma, rho, m=m, normalize=False) if rule == "m" else usam(gamma, rho)
        run = wb.run(network, chosen, steps=round(20 / gamma), integrate={"delta": decay_rate(network, rho, m)})
        decay = network.log_decay(run.parameters)
        assert decay.max() > 0.05
        return (decay - rho * run.integrals["delta"]).abs().max().item()

    coarse, fine = gap(0.2), gap(0.05)
    assert fine < 0.3 * coarse
    assert fine < 0.05


@pytest.mark.parametrize("m", [1, 2, 4])
def test_first_order_rate_is_the_mean_over_all_partitions(m):
    network = diagonal_network(sparse_regression(6, n=4, d=6), 0.05)
    point = network.initial() * torch.tensor([[2.0], [0.5]])
    rates = []
    for order in map(list, itertools.permutations(range(4))):
        shuffled = diagonal_network((network.inputs[order], network.targets[order]), 0.05)
        rates.append(decay_rate(shuffled, 0.0, m)(point))
    torch.testing.assert_close(
        torch.stack(rates).mean(0), first_order_decay_rate(network, m)(point), rtol=1e-12, atol=0
    )


def test_one_sam_limit_minimises_phi_with_the_effective_initialisation():
    network = diagonal_network(sparse_regression(0), 0.05)
    end = wb.run(network, m_sam(0.1, 0.2, m=1, normalize=False), steps=2500).parameters
    beta = network.predictor(end)
    near = argmin_phi(network.inputs, network.targets, network.effective_initialisation(end))
    far = argmin_phi(network.inputs, network.targets, 0.05)
    assert (beta - near).norm() < 0.02 * beta.norm()
    assert (beta - far).norm() > 5 * (beta - near).norm()


def test_stability_number_is_the_linearised_map_of_the_residuals():
    network, gamma, rho = diagonal_network(sparse_regression(0), 0.05), 1 / 30, 2.0
    end = wb.run(network, gradient_descent(0.3), steps=3000).parameters
    kernel = network.inputs @ torch.diag(2 * (end**2).sum(0)) @ network.inputs.T
    eigenvalues = torch.linalg.eigvals(kernel @ torch.diag(1 + rho * torch.diagonal(kernel)))
    expected = gamma / 20 * eigenvalues.real.max()
    torch.testing.assert_close(sam_stability_number(network, end, gamma, rho), expected)


def test_one_sam_leaves_a_minimum_exactly_beyond_stability_number_two():
    def growth(target):
        network, gamma = diagonal_network(sparse_regression(0), 0.05), 1 / 30
        end = wb.run(network, gradient_descent(0.3), steps=6000).parameters
        rho = rho_for_stability_number(network, end, gamma, target)
        run = wb.run(network, m_sam(gamma, rho, m=1, normalize=False), start=end, steps=400)
        return {
            "growth": network.train_loss(run.parameters) / network.train_loss(end),
            "number": sam_stability_number(network, end, gamma, rho),
        }

    result = wb.sweep(growth, target=[1.9, 2.2])
    np.testing.assert_allclose(result.number, [1.9, 2.2], rtol=1e-12)
    assert result.growth[0] < 1 < 100 < result.growth[1]


def test_rho_for_an_unreachable_stability_number_is_nan():
    network = diagonal_network(sparse_regression(0), 0.05)
    end = wb.run(network, gradient_descent(0.3), steps=500).parameters
    assert torch.isnan(rho_for_stability_number(network, end, 1 / 30, 1e-3))
    assert torch.isnan(rho_for_stability_number(network, end, 1 / 30, 1e9))
    assert torch.isnan(sam_stability_number(network, torch.full_like(end, torch.nan), 1 / 30, 1.0))


def test_a_sweep_over_data_seeds_equals_the_runs_alone():
    def end(seed, rho):
        network = diagonal_network(sparse_regression(seed), 0.05)
        run = wb.run(network, m_sam(0.2, rho, m=4, normalize=False), steps=50, record=["test_loss"])
        return {"test_loss": run.records["test_loss"], "decay": network.log_decay(run.parameters)}

    result = wb.sweep(end, seed=range(3), rho=[0.05, 0.2])
    alone = end(2, 0.2)
    np.testing.assert_allclose(result.decay.sel(seed=2, rho=0.2), alone["decay"], rtol=1e-10)
    np.testing.assert_allclose(result.test_loss.sel(seed=2, rho=0.2), alone["test_loss"].value, rtol=1e-12)


def test_normalised_sam_runs_on_both_parametrisations():
    ends = [
        wb.run(diagonal_network(sparse_regression(0), 0.05, name), sam(0.1, 0.01), steps=20).parameters
        for name in ("squares", "product")
    ]
    assert all(torch.isfinite(end).all() for end in ends)


@pytest.mark.parametrize("m", [0, 3, 21])
def test_groups_that_do_not_divide_the_samples_are_refused(m):
    with pytest.raises(ValueError, match=r"m must .*"):
        decay_rate(diagonal_network(sparse_regression(0), 0.05), 0.1, m)
