"""Losses of what a sample shows: gradients, closed-form sharpness-aware risks with their certificates, SA-GD's valley."""

import math

import numpy as np
import pytest
import torch

from workbench import draws
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.optimizers.inner_maximisation import sa_gd
from workbench.papers.flat_minima_sco import unseen_coordinates as unseen
from workbench.papers.flat_minima_sco import valley_truths
from workbench.papers.flat_minima_sco.adversaries import FreshCoordinate, WeightedCoordinate
from workbench.papers.flat_minima_sco.visible_norm import FlatButBad, HiddenValley, tie_breaking_weights
from workbench.parameters import add_scaled, normalised, ravel, scale

RHOS = [0.0, 0.2, 0.5]


def _valley(seed, n=4, T=5, rho=0.1, weights=None, extra=1.0):
    return HiddenValley(1 - 2 * unseen.coins(seed, n), T, rho, weights, extra)


def _random_state(problem, seed):
    shape = problem.initial()["blocks"].shape
    return {
        "blocks": draws.normal(seed, tuple(shape), stream="blocks"),
        "extra": draws.normal(seed, (), stream="extra"),
    }


@pytest.mark.parametrize("rho", RHOS)
def test_gradients_agree_with_automatic_differentiation_away_from_zero(rho):
    flat = FlatButBad(unseen.coins(0, 4), rho)
    weighted = _valley(0, rho=rho, weights=tie_breaking_weights(16, 5, 0.1), extra=0.8)
    for seed in range(5):
        w = draws.normal(seed, (17,), stream="test")
        torch.testing.assert_close(flat.gradient(w), torch.func.grad(flat.loss)(w), rtol=1e-11, atol=1e-13)
        for problem in (_valley(seed, rho=rho), weighted):
            state = _random_state(problem, seed)
            torch.testing.assert_close(
                problem.gradient(state), torch.func.grad(problem.loss)(state), rtol=1e-11, atol=1e-13
            )


@pytest.mark.parametrize("rho", RHOS)
def test_gradient_is_zero_where_nothing_is_shown(rho):
    flat, valley = FlatButBad(unseen.coins(0, 4), rho), _valley(0, rho=rho)
    assert flat.gradient(flat.initial()).abs().max() == 0
    assert ravel(valley.gradient(valley.initial())).abs().max() == 0
    w = valley.initial()
    w["blocks"][unseen.first_unseen(unseen.coins(0, 4))] = -0.7
    assert ravel(valley.gradient(w)).abs().max() == 0 and valley.loss(w) == 0


@pytest.mark.parametrize("rho", RHOS)
def test_convex_and_smooth_on_random_pairs(rho):
    problem = _valley(1, rho=rho, weights=tie_breaking_weights(16, 5, 0.3), extra=0.4)
    for seed in range(20):
        a, b = _random_state(problem, 2 * seed), _random_state(problem, 2 * seed + 1)
        step, change = ravel(a) - ravel(b), ravel(problem.gradient(a)) - ravel(problem.gradient(b))
        assert change.norm() <= step.norm() * (1 + 1e-12)
        assert change @ step >= -1e-12


def _climb(problem, w, r, seed, iterations=120):
    like = w if isinstance(w, torch.Tensor) else w["blocks"]
    v = draws.normal(seed, tuple(like.shape), stream="climb")
    v = v if isinstance(w, torch.Tensor) else {"blocks": v, "extra": draws.normal(seed, (), stream="climb extra")}
    v = scale(r, normalised(v))
    for _ in range(iterations):
        v = scale(r, normalised(problem.gradient(add_scaled(w, 1.0, v))))
    return float(problem.loss(add_scaled(w, 1.0, v)))


@pytest.mark.parametrize(("rho", "r"), [(0.0, 0.3), (0.1, 0.3), (0.25, 0.6)])
def test_sharpness_aware_risk_is_never_exceeded_and_reached(rho, r):
    samples = unseen.coins(3, 5)
    flat = FlatButBad(samples, rho)
    e_I = torch.eye(33, dtype=torch.float64)[unseen.first_unseen(samples)]
    e_d = torch.eye(33, dtype=torch.float64)[-1]
    for w in (e_I, rho * e_d, 0.5 * e_I - 0.2 * e_d):
        found = [_climb(flat, w, r, seed) for seed in range(4)]
        assert max(found) == pytest.approx(float(flat.sharpness_aware_risk(w, r)), abs=1e-6)
    valley = _valley(3, n=5, rho=rho)
    w = valley.initial()
    w["blocks"][unseen.first_unseen(samples)] = -0.3
    found = [_climb(valley, w, r, seed) for seed in range(4)]
    closed = float(valley.sharpness_aware_risk(w, r))
    assert max(found) <= closed + 1e-9
    assert closed == pytest.approx(0.5 * (r - rho) ** 2, rel=1e-12)


def test_no_closed_form_where_the_sample_sees_the_point():
    samples = unseen.coins(0, 4)
    seen = int((1 - unseen.never_shown(samples)).argmax())
    assert FlatButBad(samples, 0.1).sharpness_aware_risk(torch.eye(17, dtype=torch.float64)[seen], 0.2).isnan()
    valley = _valley(0)
    w = valley.initial()
    w["blocks"][unseen.first_unseen(samples), 0] = 0.1
    assert valley.sharpness_aware_risk(w, 0.2).isnan()


@pytest.mark.parametrize(("rho", "c", "eta", "T"), [(0.0, 1.0, 0.25, 16), (0.15, 0.7, 0.1, 33), (0.5, 0.9, 0.03, 8)])
@pytest.mark.parametrize("n", [2, 5, 8])
def test_full_and_reduced_walk_follow_the_closed_form(n, rho, c, eta, T):
    samples = unseen.coins(1, n)
    block, r = unseen.first_unseen(samples), valley_truths.radius(rho, c, T, eta)
    full = HiddenValley(1 - 2 * samples, T, rho)
    alone = HiddenValley((1 - 2 * samples)[:, block][:, None], T, rho)
    path = iterates(full, sa_gd(eta, r, FreshCoordinate(block)), T)
    reduced = iterates(alone, sa_gd(eta, r, FreshCoordinate(0)), T)
    assert torch.equal(path["blocks"][:, block], reduced["blocks"][:, 0])
    others = torch.arange(2**n) != block
    assert path["blocks"][:, others].abs().max() == 0 and path["extra"].abs().max() == 0
    averages = suffix_averages(path)
    risks = alone.block_risk(averages["blocks"][:, block]).numpy()
    np.testing.assert_allclose(risks, valley_truths.suffix_risk(rho, c, T, np.arange(1, T + 1)), atol=1e-12)
    saer = torch.func.vmap(lambda w: full.sharpness_aware_risk(w, r))(averages)
    np.testing.assert_allclose(saer, valley_truths.valley_saer(c, T, eta), rtol=1e-12)


def test_block_risk_is_the_population_risk():
    problem = _valley(0, n=3, T=4, rho=0.3)
    w = problem.initial()
    w["blocks"][2] = torch.tensor([0.9, -0.5, 0.2, -0.8], dtype=torch.float64)
    either = torch.ones(2, 8, dtype=torch.float64)
    either[1, 2] = -1
    assert float(problem.block_risk(w["blocks"][2])) == pytest.approx(
        float(problem.batch_loss(w, (either,))), rel=1e-14
    )


@pytest.mark.parametrize("T", [1, 2, 7, 50])
def test_suffix_norm_against_the_sum(T):
    step, c = 0.3 / math.sqrt(T), 0.3
    for tau in range(1, T + 1):
        entries = [max(0, T - max(tau, s + 1) + 1) / (T - tau + 1) for s in range(1, T + 1)]
        assert valley_truths.suffix_norm(c, T, tau) == pytest.approx(step * math.hypot(*entries), rel=1e-12)


def test_limit_and_boundary():
    assert valley_truths.suffix_risk(0.1, 0.8, 10**7, 1) == pytest.approx(valley_truths.limit_risk(0.1, 0.8), rel=1e-5)
    assert valley_truths.limit_risk(0.8 / math.sqrt(3), 0.8) == pytest.approx(0, abs=1e-30)
    assert valley_truths.limit_risk(0.79 / math.sqrt(3), 0.8) > 0


def test_with_weights_the_maximiser_is_one_coordinate():
    weights = tie_breaking_weights(16, 5, 0.05)
    problem = _valley(2, rho=0.1, weights=weights, extra=0.9)
    rule = sa_gd(0.1, 0.5, WeightedCoordinate(problem.signs, weights))
    path = iterates(problem, rule, 6)
    assert float(problem.loss({name: leaf.mean(0) for name, leaf in path.items()})) == 0
    for t in range(6):
        w = {name: leaf[t] for name, leaf in path.items()}
        chosen = rule.gradient.maximiser(_Count(t), w, 0.5)
        best = float(problem.loss(add_scaled(w, 1.0, chosen)))
        assert torch.count_nonzero(chosen["blocks"]) == 1
        assert max(_climb(problem, w, 0.5, seed, 40) for seed in range(5)) <= best + 1e-12


class _Count:
    def __init__(self, count):
        self.step = torch.tensor(count)


def test_states_that_do_not_fit_are_refused_with_their_size():
    with pytest.raises(MemoryError, match=r"65536 blocks .* needs .*GiB"):
        HiddenValley(torch.ones(1, 2**16, dtype=torch.float64), 10**8)


@pytest.mark.parametrize("arguments", [{"rho": -0.1}, {"positions": 0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        HiddenValley(torch.ones(1, 2, dtype=torch.float64), **{"positions": 3, "rho": 0.1} | arguments)
    with pytest.raises(ValueError, match="epsilon"):
        tie_breaking_weights(2, 3, 0.5)


def test_stability_bound_term_by_term():
    # 3 (24/4 r^2 T + 96/4 T/n^2 + 768/16 T^2 (r - rho)^2/n^2) at eta = 1/4, smoothness 1
    expected = 3 * (6 * 0.09 * 10 + 24 * 10 / 25 + 48 * 100 * 0.04 / 25)
    assert valley_truths.stability_bound(5, 10, 0.25, 0.3, 0.1) == pytest.approx(expected, rel=1e-12)
    assert valley_truths.optimization_bound(0.25, 16, 0.3) == pytest.approx(0.25 + 0.36)
    assert valley_truths.optimization_bound(0.25, 16, -0.3) == pytest.approx(0.25)
