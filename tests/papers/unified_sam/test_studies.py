"""What the claims measure: exact rows against sums written out, runs against plain loops, controls that break what they must."""

import itertools

import numpy as np
import pytest
import torch
from data import tiny

from workbench.dynamics.sources import Importance, Minibatches, expected_residual, smoothness_probabilities
from workbench.papers.unified_sam import cifar, deterministic, exact, networks, one_step, stochastic, theory
from workbench.papers.unified_sam.regressions import conditioned_ridge, log_spectrum, robust_regression, uneven_ridge
from workbench.problems import quadratic, rippled_sum

D = torch.float64


def test_regressions_have_the_stated_spectra_and_constants():
    problem = conditioned_ridge(3, 8, 4, 10.0, 0.2)
    found = torch.linalg.eigvalsh(problem.inputs.T @ problem.inputs)
    torch.testing.assert_close(found, log_spectrum(4, 10.0))
    assert float(problem.pl_constant) == pytest.approx(0.1 / 8 + 0.2)
    assert float(problem.sample_smoothness.mean()) == pytest.approx(float(found.sum()) / 8 + 0.2)
    consistent = uneven_ridge(0, 10, 3, 0.4, 0.0)
    assert float(consistent.minimum) < 1e-25
    even, uneven = (uneven_ridge(0, 50, 4, sigma, 0.0).sample_smoothness for sigma in (0.0, 1.0))
    assert float(uneven.max() / uneven.mean()) > 1.5 * float(even.max() / even.mean())
    for bad, words in (
        ((0, 3, 4, 10.0, 0.1), "n \\(at least d = 4"),
        ((0, 4, 4, 0.5, 0.1), "cond"),
        ((0, 4, 4, 2.0, -1.0), "reg"),
    ):
        with pytest.raises(ValueError, match=words):
            conditioned_ridge(*bad)


def test_one_step_form_is_the_sum_over_subsets_written_out():
    problem, lam, c = conditioned_ridge(1, 6, 3, 10.0, 0.3), 0.5, 0.5
    x = one_step.around(problem, 1, 3)[1]
    A, B, C = expected_residual(problem, Minibatches(2, "tau-nice"))
    mu, L = float(problem.pl_constant), float(problem.sample_smoothness.max())
    assert pytest.approx(4 / (2 * 5) * L) == A and pytest.approx(6 / (2 * 5)) == B
    steps = theory.theorem_3_2(mu, L, A, B, C, lam, c)
    after = []
    for S in itertools.combinations(range(6), 2):
        a, b = problem.inputs[list(S)], problem.targets[list(S)]
        g = a.T @ (a @ x - b) / 2 + 0.3 * x
        y = x + steps.rho * (1 - lam + lam / g.norm()) * g
        after.append(problem.loss(x - steps.gamma_star * (a.T @ (a @ y - b) / 2 + 0.3 * y)))
    left = float(torch.stack(after).mean() - problem.minimum)
    delta = float(problem.loss(x) - problem.minimum)
    right = (1 - steps.gamma_star * mu) * delta + steps.gamma_star * mu * steps.N
    found = one_step.pl_slack(problem, Minibatches(2, "tau-nice"), x[None], [c], [lam])
    assert found.ratio.item() == pytest.approx(left / right, rel=1e-10)
    assert found.slack.item() == pytest.approx((right - left) / (steps.gamma_star * mu * (delta + steps.N)), rel=1e-6)


@pytest.mark.parametrize("seed", [0, 11])
def test_exact_rows_hold_and_their_controls_break_them(seed):
    fractions = [0.5]
    assert all((part <= 1.1e-12).all() for part in exact.biases(seed, [1, 2]).values())
    unweighted = exact.biases(seed, [1], weighted=False)
    assert (unweighted["importance"] > 1e-3).all() and (unweighted["tau-nice"] <= 1.1e-12).all()
    found, broken = (exact.residuals(seed, [1], 30, another=another) for another in (False, True))
    assert all(part.max() <= (1e-12 if name == "identity" else 1 + 1e-9) for name, part in found.items())
    assert all(part.max() > (1e-3 if name == "identity" else 1.0) for name, part in broken.items())
    assert exact.ridge_slack(seed, 10, 5, 10.0, 0.3, [1, 2], fractions, 30).min() >= 0
    assert exact.ridge_slack(seed, 10, 5, 10.0, 0.3, [1], fractions, 30, gamma_factor=512.0).min() < 0
    assert exact.rippled_slack(seed, fractions, 30).min() >= 0
    assert exact.sharper_slack(seed, 0.4, fractions, 30).min() >= 0
    assert exact.sharper_slack(seed, 0.4, fractions, 30, gamma_factor=512.0).min() < 0
    assert 0.9 < exact.robust_ratios(seed, (100, 1600), 30).max() <= 1


def test_reweighted_samples_are_as_smooth_as_the_mean():
    problem = uneven_ridge(2, 12, 3, 0.4, 0.1)
    p = smoothness_probabilities(problem)
    torch.testing.assert_close(problem.sample_smoothness / (12 * p), problem.sample_smoothness.mean().expand(12))
    assert one_step.sharp_smoothness(problem) == float(problem.sample_smoothness.mean())
    assert pytest.approx(float(problem.sample_smoothness.mean())) == expected_residual(problem, Importance(p)).A


def test_nonconvex_bound_refuses_long_steps():
    problem = robust_regression(0)
    with pytest.raises(ValueError, match="too long for the bound"):
        one_step.nonconvex_ratios(rippled_sum(0), torch.zeros(1, 1, dtype=D)[:, 0], [0.1])
    assert float(problem.sample_minima.abs().max()) == 0


def test_deterministic_runs_end_where_the_closed_form_says():
    assert float(deterministic.endpoints(range(2)).max()) <= 1
    assert float(deterministic.endpoints(range(1), swapped=True).min()) > 1e6
    found = deterministic.descents(range(1), [0.0, 0.5, 1.0], 12, 10.0, 6000)
    assert found.loss.dims == ("seed", "lam", "step") and found.sizes["step"] == 101
    rate = deterministic.over_linear_rate(found.sel(lam=0.0), log_spectrum(12, 10.0).numpy(), 0.0125, 0.0125)
    assert 0 < float(rate.max()) <= 1
    plateaus = deterministic.over_plateau(found)
    assert plateaus.lam.values.tolist() == [0.5, 1.0] and (plateaus.deviation <= 2).all()
    np.testing.assert_allclose(plateaus.level, plateaus.closed, rtol=1e-3)
    same = deterministic.over_plateau(deterministic.descents(range(1), [0.0, 0.5, 1.0], 12, 10.0, 6000, lambda_run=1.0))
    assert same.deviation.sel(lam=0.5).item() > 100
    # Before it has settled nothing is judged.
    early = deterministic.over_plateau(deterministic.descents(range(1), [0.0, 0.5, 1.0], 12, 10.0, 100))
    assert np.isnan(early.deviation).all()


def test_usam_obeys_its_rate_on_every_quadratic():
    for seed in range(3):
        problem = quadratic(log_spectrum(6, 5.0), rotation=seed)
        x = problem.initial(seed)
        q = theory.usam_rate(log_spectrum(6, 5.0).numpy(), 0.3, 0.1)
        first = float(problem.loss(x))
        for _ in range(20):
            g = problem.gradient(x)
            x = x - 0.3 * problem.gradient(x + 0.1 * g)
        assert float(problem.loss(x)) <= q**40 * first


def test_decreasing_steps_against_constant_ones():
    found = stochastic.decreasing(range(8), (1.0,))
    assert set(found.dims) == {"lam", "seed", "step"} and found.sizes["step"] >= 38
    assert (stochastic.late(found.decreasing).mean("seed") < 0.2 * stochastic.late(found.constant).mean("seed")).all()
    same = stochastic.decreasing(range(4), (1.0,), constant=True)
    np.testing.assert_array_equal(same.decreasing, same.constant)


def test_importance_sampling_is_faster_and_sharper_still():
    small = {"runs": 4, "d": 2}
    uniform, importance, sharper = (
        stochastic.steps_to_a_tenth(range(3), arm, cap=1000, **small) for arm in ("uniform", "importance", "sharper")
    )
    assert not importance.capped.any() and not sharper.capped.any()
    assert (stochastic.speed_up(uniform, importance) > 1).all() and (stochastic.speed_up(importance, sharper) > 1).all()
    short = stochastic.steps_to_a_tenth(range(3), "uniform", cap=100, **small)
    assert short.capped.any() and (short.steps <= 100).all() and (short.steps == 100).where(short.capped, True).all()
    late = short.capped.any("run")
    assert np.isnan(stochastic.speed_up(uniform, short).values[late.values]).all()
    with pytest.raises(ValueError, match="arm must be uniform"):
        stochastic.steps_to_a_tenth(range(2), "best", cap=100)
    with pytest.raises(ValueError, match="cap must be an int >= 100"):
        stochastic.steps_to_a_tenth(range(2), "uniform", cap=10)


def test_networks_share_everything_but_the_rule():
    digits = networks.Digits(1)
    found = digits.accuracies(range(2), ["SGD", "1", "1-1/t"], 0.0, 0.2)
    assert found.dims == ("rule", "seed") and (networks.gains(found) == 0).all()
    moved = networks.gains(digits.accuracies(range(2), ["SGD", "0.5"], 0.2))
    assert (moved != 0).any() and moved.rule.values.tolist() == ["0.5"]
    with pytest.raises(ValueError, match="lam must be SGD or one of"):
        networks.rule("0.7", 0.1, 10)


def test_the_papers_table_runs_on_a_folder_in_cifars_format(tmp_path, monkeypatch):
    tiny.cifar10(tmp_path)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    found = cifar.accuracies("cifar10", range(1), ["SGD", "1-1/t"], 0.1, epochs=1, depth=10, widening=1)
    assert found.dims == ("rule", "seed") and ((found >= 0) & (found <= 100)).all()
