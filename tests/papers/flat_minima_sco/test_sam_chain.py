"""SAM's chain: gradients, reduced state against full state, closed forms, gates, constants."""

import math

import pytest
import torch

from workbench import draws
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.optimizers import gradient_descent, sam
from workbench.papers.flat_minima_sco import unseen_coordinates as unseen
from workbench.papers.flat_minima_sco.chain_constants import ChainConstants
from workbench.papers.flat_minima_sco.sam_chain import SamChain, chain_gates, first_step_factor, reduced_sam_chain


def _chain(n=4, T=8, eta=1 / 24, c=0.5, delta=0.03, gamma_rule="corrected", seed=0, k=1):
    constants = ChainConstants(n, T, eta, c / (eta * math.sqrt(T)), delta, gamma_rule)
    return reduced_sam_chain(unseen.coins(seed, n, k), constants, k)


def _averaged(problem):
    return suffix_averages(
        iterates(problem, sam(problem.constants.step_size, problem.constants.rho), problem.constants.T)
    )


@pytest.mark.parametrize("seed", range(4))
def test_gradients_agree_with_automatic_differentiation(seed):
    reduced = _chain(seed=seed)
    full = SamChain(reduced.samples, reduced.constants)
    for problem in (full, reduced):
        w = {k: draws.normal(seed, tuple(v.shape), stream=k) for k, v in problem.initial().items()}
        torch.testing.assert_close(problem.gradient(w), torch.func.grad(problem.loss)(w), rtol=1e-10, atol=1e-13)


def test_full_loss_is_the_mean_of_the_paper_s_formula():
    problem = SamChain(unseen.coins(0, 3, 1), ChainConstants(3, 5, 0.1, 0.7))
    constants, (gamma, delta_1) = problem.constants, problem.constants.trigger
    w = {k: draws.normal(1, tuple(v.shape), stream=k) for k, v in problem.initial().items()}
    blocks, deltas, total = w["blocks"], [0, *constants.deltas.tolist()], 0.0
    for z in problem.samples:
        for i in range(8):
            for j in range(1, 5):
                before = blocks[i, j - 1] + (constants.lam if j == 1 else 0)
                total += 0.5 * z[i] * blocks[i, j] ** 2 + 0.5 * (blocks[i, j] - deltas[j] * before).clamp(min=0) ** 2
        v = z - (1 - z) / (2 * (constants.d - 1))
        total += 0.5 * gamma * (v @ blocks[:, 0] + w["extra"] + delta_1).clamp(min=0) ** 2
    assert float(problem.loss(w)) == pytest.approx(float(total) / 3, rel=1e-12)


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize(("eta", "c", "delta", "k"), [(1 / 24, 0.5, 0.03, 1), (0.5, 0.2, 0.3, 1), (0.1, 0.4, 0.1, 2)])
def test_reduced_state_equals_the_full_one(n, eta, c, delta, k):
    reduced = _chain(n, 10, eta, c, delta, k=k, seed=n)
    rule, T = sam(eta, reduced.constants.rho), 10
    path = iterates(reduced, rule, T)
    full = SamChain(reduced.samples, reduced.constants)
    whole = iterates(full, rule, T)
    expanded = torch.func.vmap(reduced.expand)(path)
    for name in whole:
        torch.testing.assert_close(expanded[name], whole[name], rtol=1e-9, atol=1e-18)
    risks = torch.func.vmap(reduced.population_risk)(path), torch.func.vmap(full.population_risk)(whole)
    torch.testing.assert_close(*risks, rtol=1e-9, atol=1e-18)
    losses = torch.func.vmap(reduced.loss)(path), torch.func.vmap(full.loss)(whole)
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("T", [6, 16, 65])
@pytest.mark.parametrize(("n", "eta", "c", "delta"), [(6, 1 / 24, 0.5, 0.03), (3, 2.0, 0.5, 0.3), (9, 0.3, 0.1, 1e-3)])
def test_closed_form_and_gates(n, T, eta, c, delta):
    for seed in range(3):
        problem = _chain(n, T, eta, c, delta, seed=seed)
        path = iterates(problem, sam(eta, problem.constants.rho), T)
        gates = chain_gates(problem, path)
        assert all(bool(gate) for gate in gates.values()), gates
        assert float((path["second"][1] @ problem.select.T).abs()) == pytest.approx(float(problem.trace), rel=1e-9)
        averages = suffix_averages(path)
        torch.testing.assert_close(
            averages["tail"][:, 0], problem.constants.suffix_average(problem.trace), rtol=0, atol=1e-11
        )
        risk = torch.func.vmap(problem.population_risk)(averages)
        torch.testing.assert_close(risk, problem.constants.suffix_risk(problem.trace), rtol=0, atol=1e-11)
        assert torch.func.vmap(problem.loss)(averages).max() <= 1e-15
        assert risk.min() >= problem.constants.guaranteed_risk


LINKS = [(1.0, 0.4, False), (2.0, 0.3, True), (2.0, 0.32, False), (0.04, 0.4, True)]


@pytest.mark.parametrize(("eta", "delta", "small_enough"), LINKS)
def test_how_small_the_links_must_be(eta, delta, small_enough):
    problem = _chain(4, 12, eta, delta=delta)
    gates = chain_gates(problem, iterates(problem, sam(eta, problem.constants.rho), 12))
    assert bool(gates["progress"]) == small_enough == problem.constants.advances


def test_limit_of_small_links():
    for T in (64, 256):
        constants = ChainConstants(6, T, 1 / 24, 12 / math.sqrt(T), 1e-6)
        sizes = sum(((T - j + 1) / T) ** 2 for j in range(3, T + 1))
        assert float(constants.suffix_risk()[0]) == pytest.approx(0.25 * 0.25 / T * sizes, rel=1e-4)


@pytest.mark.parametrize(("n", "eta"), [(6, 1 / 24), (6, 0.25), (6, 2.0), (10, 1 / 8)])
def test_the_first_step_factor_decides_where_seen_blocks_land(n, eta):
    for seed in range(8):
        problem = _chain(n, 8, eta, gamma_rule="paper", seed=seed)
        path = iterates(problem, sam(eta, problem.constants.rho), 8)
        seen = problem.samples.amax(0) > 0
        deepest = float(path["first"][1][seen].min()) / -problem.constants.lam
        factor = float(first_step_factor(problem.samples, problem.constants))
        assert factor == pytest.approx(deepest, rel=1e-9)
        assert (factor < 1) == bool(chain_gates(problem, path)["first"])
        # the proof's elementwise product never sees it
        assert first_step_factor(problem.samples, problem.constants, elementwise=True) < 1


PRINTED = [(6, 1 / 24, True), (6, 0.25, False), (6, 2.0, False), (12, 1 / 24, False)]


@pytest.mark.parametrize(("n", "eta", "printed_holds"), PRINTED)
def test_the_printed_weight_breaks_and_the_corrected_one_holds(n, eta, printed_holds):
    for gamma_rule, expected in (("paper", printed_holds), ("corrected", True)):
        problem = _chain(n, 12, eta, gamma_rule=gamma_rule)
        gates = chain_gates(problem, iterates(problem, sam(eta, problem.constants.rho), 12))
        assert all(bool(gate) for gate in gates.values()) == expected
        assert bool(gates["first"]) == expected


@pytest.mark.parametrize("gamma_rule", ["paper", "corrected"])
def test_trigger_solves_its_equations(gamma_rule):
    for n, T, eta, r in [(6, 16, 1 / 24, 3.0), (3, 6, 2.0, 0.1), (10, 64, 0.7, 0.05)]:
        constants = ChainConstants(n, T, eta, r, gamma_rule=gamma_rule)
        gamma, delta_1 = constants.trigger
        root, top = math.sqrt(constants.d), max(1.0, eta)
        if gamma_rule == "paper":
            assert delta_1 == pytest.approx(eta * gamma * r / (2 * root - eta * gamma), rel=1e-12)
            assert gamma * top * (r + delta_1) == pytest.approx(constants.lam, rel=1e-12)
        else:
            assert delta_1 == pytest.approx(eta * gamma * r / (4 * root * (1 + eta * gamma / 2)), rel=1e-12)
            assert gamma * top * (r * root + delta_1) == pytest.approx(constants.lam, rel=1e-12)


def test_more_unseen_blocks_do_not_matter_and_none_does():
    chains = [_chain(5, 20, k=k) for k in range(4)]
    risks = [float(torch.func.vmap(chain.population_risk)(_averaged(chain)).min()) for chain in chains]
    assert risks[0] == 0
    assert risks[2] == pytest.approx(risks[1], abs=1e-8) and risks[3] == pytest.approx(risks[1], abs=1e-8)


def test_gradient_descent_learns_nothing_bad():
    problem = _chain(6, 40)
    path = iterates(problem, gradient_descent(1 / 24), 40)
    assert torch.func.vmap(problem.population_risk)(path).max() <= 1e-12


def test_refusals_come_before_compute():
    with pytest.raises(MemoryError, match=r"2\^30 blocks of 100 positions needs .*TiB.*ReducedSamChain"):
        SamChain(torch.empty(30, 2**30, device="meta", dtype=torch.float64), ChainConstants(30, 100, 0.1, 0.1))
    with pytest.raises(MemoryError, match="iterates"):
        iterates(_chain(6, 16), sam(0.1, 0.1), 10**9)
    good = {"n": 4, "T": 8, "step_size": 0.1, "rho": 0.2}
    bad = {"delta": (0.0, 1.5), "rho": (-1.0,), "step_size": (0.0,), "gamma_rule": ("mine",), "T": (3,), "n": (0,)}
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                ChainConstants(**good | {name: value})
    with pytest.raises(ValueError, match=r"\[n, 2\^n\]"):
        SamChain(torch.zeros(3, 16, dtype=torch.float64), ChainConstants(4, 8, 0.1, 0.1))
