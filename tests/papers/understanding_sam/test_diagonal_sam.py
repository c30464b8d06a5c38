"""1-SAM on diagonal networks in closed form, against the generic rule and against the formula with explicit perturbations."""

import pytest
import torch

import workbench as wb
from workbench.papers.understanding_sam.diagonal_sam import OneSampleSAM, unnormalised_sam
from workbench.problems import diagonal_network, sparse_regression
from workbench.problems.factorised.diagonal_bias import (
    decay_rate,
    first_order_decay_rate,
    rho_for_stability_number,
    sam_stability_number,
)

PARAMETRISATIONS = ("squares", "product")


def as_parameters(plus, minus, parametrisation):
    """The same point of both networks: (w+, w-), or u = w+ + w-, v = w+ - w-."""
    return torch.stack([plus, minus] if parametrisation == "squares" else [plus + minus, plus - minus])


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("rho", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("m", [1, 5, 10])
def test_equals_the_generic_rule(rho, m, parametrisation):
    network = diagonal_network(sparse_regression(3, n=10, d=17, k=2), 0.1, parametrisation)
    start = network.start_from(0.1) + 0.05 * wb.draws.normal(1, (2, 17))
    ours, generic = (
        wb.run(network, rule, start=start, steps=25).parameters
        for rule in (unnormalised_sam(network, 0.2, rho, m), wb.optimizers.m_sam(0.2, rho, m, normalize=False))
    )
    torch.testing.assert_close(ours, generic, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("m", [1, 2, 6])
@pytest.mark.parametrize("owner", ["own", "next"])
def test_both_parametrisations_make_the_same_steps(m, owner):
    data, ends = sparse_regression(1, n=6, d=9, k=2), []
    for parametrisation in PARAMETRISATIONS:
        network = diagonal_network(data, 0.3, parametrisation)
        run = wb.run(network, unnormalised_sam(network, 0.2, 0.4, m, owner), steps=30)
        ends.append((network.predictor(run.parameters), network.log_decay(run.parameters)))
    for squares, product in zip(*ends, strict=True):
        torch.testing.assert_close(squares, product, rtol=1e-10, atol=1e-13)


def test_rates_and_stability_are_the_same_for_both_parametrisations():
    data, numbers = sparse_regression(1, n=6, d=9, k=2), []
    plus, minus = (0.3 + 0.1 * wb.draws.normal(seed, (9,)) for seed in (3, 4))
    for parametrisation in PARAMETRISATIONS:
        network = diagonal_network(data, 0.3, parametrisation)
        here = as_parameters(plus, minus, parametrisation)
        rho = rho_for_stability_number(network, here, 0.05, 1.9)
        values = [sam_stability_number(network, here, 0.05, 0.2), rho, *network.log_decay(here)]
        values += [
            part
            for m in (1, 3, 6)
            for part in (*decay_rate(network, 0.4, m)(here), *first_order_decay_rate(network, m)(here))
        ]
        numbers.append(torch.stack([torch.as_tensor(value) for value in values]))
    assert torch.isfinite(numbers[0]).all()
    torch.testing.assert_close(*numbers, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_gradients_are_those_of_the_loss(parametrisation):
    network = diagonal_network(sparse_regression(1, n=6, d=9, k=2), 0.3, parametrisation)
    here = as_parameters(*(0.3 + 0.1 * wb.draws.normal(seed, (9,)) for seed in (3, 4)), parametrisation)
    torch.testing.assert_close(network.gradient(here), torch.func.grad(network.loss)(here), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("owner", ["own", "next"])
def test_one_step_is_the_multiplicative_form(owner):
    network = diagonal_network(sparse_regression(0, n=4, d=6, k=2), 0.3)
    gamma, rho = 0.1, 0.4
    plus, minus = network.start_from(0.3) * torch.linspace(0.5, 1.5, 6)
    residuals, factors = (plus**2 - minus**2) @ network.inputs.T - network.targets, []
    for i, (x, y) in enumerate(zip(*network.data, strict=True)):
        j = i if owner == "own" else (i + 1) % 4
        g = residuals[j] * network.inputs[j]
        r = ((plus * (1 + rho * g)) ** 2 - (minus * (1 - rho * g)) ** 2) @ x - y
        factors.append(torch.stack([r * x * (1 + rho * g), -r * x * (1 - rho * g)]))
    start = torch.stack([plus, minus])
    expected = start * (1 - gamma * torch.stack(factors).mean(0))
    found = wb.run(network, unnormalised_sam(network, gamma, rho, 1, owner), start=start, steps=1).parameters
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("m", [1, 6])
def test_effective_initialisation_shrinks_by_the_theorem(m):
    network, rho = diagonal_network(sparse_regression(2, n=6, d=9, k=2), 0.2), 0.3

    def error(gamma):
        rule = unnormalised_sam(network, gamma, rho, m)
        run = wb.run(network, rule, steps=round(20 / gamma), integrate={"delta": decay_rate(network, rho, m)})
        return (network.log_decay(run.parameters) - rho * run.integrals["delta"]).abs().max()

    coarse, fine = error(0.04), error(0.01)
    assert fine < 0.02
    assert coarse / fine == pytest.approx(4, rel=0.15)  # first order in the step size


def test_runs_of_a_sweep_equal_single_runs():
    def final(seed, rho):
        network = diagonal_network(sparse_regression(seed, n=5, d=8, k=2), 0.1)
        return {"beta": network.predictor(wb.run(network, unnormalised_sam(network, 0.3, rho, 1), steps=20).parameters)}

    swept = wb.sweep(final, seed=[0, 4], rho=[0.0, 0.2])
    alone = final(4, 0.2)["beta"]
    torch.testing.assert_close(torch.as_tensor(swept.beta.sel(seed=4, rho=0.2).values), alone, rtol=1e-12, atol=1e-14)


def test_rule_for_every_m():
    network = diagonal_network(sparse_regression(0, n=6, d=9, k=2), 0.1)
    assert isinstance(unnormalised_sam(network, 0.1, 0.2, 1).gradient, OneSampleSAM)
    assert [unnormalised_sam(network, 0.1, 0.2, m).name for m in (1, 2, 6)] == ["m_usam", "m_usam", "usam"]
    with pytest.raises(ValueError, match=r"m must divide the number of samples n = 6, got m=4"):
        unnormalised_sam(network, 0.1, 0.2, 4)
    with pytest.raises(ValueError, match="owner must be 'own' or 'next', got 'other'"):
        unnormalised_sam(network, 0.1, 0.2, 1, "other")
