"""1-SAM on diagonal networks in closed form, against the generic rule and against the formula with explicit perturbations."""

import pytest
import torch

import workbench as wb
from workbench.papers.understanding_sam.diagonal_sam import OneSampleSAM, step_size, unnormalised_sam
from workbench.problems import diagonal_network, sparse_regression
from workbench.problems.factorised.diagonal_bias import decay_rate


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("m", [1, 5, 10])
def test_equals_the_generic_rule(rho, m):
    network = diagonal_network(sparse_regression(3, n=10, d=17, k=2), 0.1)
    start = network.start_from(0.1) + 0.05 * wb.draws.normal(1, (2, 17))
    ours, generic = (
        wb.run(network, rule, start=start, steps=25).parameters
        for rule in (unnormalised_sam(network, 0.2, rho, m), wb.optimizers.m_sam(0.2, rho, m, normalize=False))
    )
    torch.testing.assert_close(ours, generic, rtol=1e-12, atol=1e-14)


def test_one_step_is_the_multiplicative_form():
    network = diagonal_network(sparse_regression(0, n=4, d=6, k=2), 0.3)
    gamma, rho = 0.1, 0.4
    plus, minus = network.start_from(0.3) * torch.linspace(0.5, 1.5, 6)
    factors = []
    for x, y in zip(*network.data, strict=True):
        g = ((plus**2 - minus**2) @ x - y) * x
        r = ((plus * (1 + rho * g)) ** 2 - (minus * (1 - rho * g)) ** 2) @ x - y
        factors.append(torch.stack([r * x * (1 + rho * g), -r * x * (1 - rho * g)]))
    start = torch.stack([plus, minus])
    expected = start * (1 - gamma * torch.stack(factors).mean(0))
    found = wb.run(network, unnormalised_sam(network, gamma, rho, 1), start=start, steps=1).parameters
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


@pytest.mark.parametrize(("text", "value"), [("0.25", 0.25), ("10/d", 0.5), (" 5 / d", 0.25)])
def test_step_size_in_words(text, value):
    assert step_size(text, 20) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0", "-1/d", "nan", "inf", "10/n", "10/", "ten", "", "1/d/d"])
def test_bad_step_size_is_refused(text):
    with pytest.raises(ValueError, match="gamma must be a finite number > 0 or 'c/d'"):
        step_size(text, 20)
