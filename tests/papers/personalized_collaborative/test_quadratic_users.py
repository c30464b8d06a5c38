"""Exact expectations of averaging and bias correction: dense moments, simulation, closed forms, the theorems."""

import math

import numpy as np
import pytest

from workbench.papers.personalized_collaborative import theory
from workbench.papers.personalized_collaborative.quadratic_users import (
    collab_moments,
    direction,
    even_start,
    full_weight,
    hard_spectrum,
    hessian_shift,
    momentum_of_the_bias,
)

H, B, SHIFT, X0 = (
    np.array([1.0, 0.4, 0.05]),
    np.array([0.3, -0.5, 0.2]),
    np.array([0.1, -0.2, 0.03]),
    np.array([1.0, -2, 4]),
)


def dense(h, b, shift, x0, eta, alpha, beta, s0, sbar, T, K0, mode):
    """Moments of (x, c, 1) as one matrix, both signs of the bias."""
    d, total = len(h), 0.0
    for signed in (b, -b):
        x, c, one = np.eye(d, 2 * d + 1), np.eye(d, 2 * d + 1, k=d), np.eye(1, 2 * d + 1, k=2 * d)[0]
        learned = signed + shift * x0 if K0 and mode == "bc" else np.zeros(d)
        state = np.concatenate([x0, learned, [1.0]])
        second = np.outer(state, state)
        if K0 and mode == "bc":
            second[d : 2 * d, d : 2 * d] += (s0 + sbar) / K0 * np.eye(d)
        values = []
        for t in range(T + 1):
            gradient = np.diag(h) @ x
            error = np.outer(signed, one) + np.diag(shift) @ x - c
            values.append([np.trace(q @ second @ q.T) for q in (gradient, np.diag(np.sqrt(h / 2)) @ x, error)])
            rate = momentum_of_the_bias(beta, K0, t) if mode == "bc" else 0.0
            bias = np.outer(signed, one) + np.diag(shift) @ x
            moved = np.concatenate([x - eta * (gradient + alpha * (bias - c)), c + rate * (bias - c), one[None]])
            # noise (n_0, nbar): x gets -eta ((1 - alpha) n_0 + alpha nbar), c gets rate (nbar - n_0)
            own = np.concatenate([-eta * (1 - alpha) * np.eye(d), -rate * np.eye(d), np.zeros((1, d))])
            others = np.concatenate([-eta * alpha * np.eye(d), rate * np.eye(d), np.zeros((1, d))])
            second = moved @ second @ moved.T + s0 * own @ own.T + sbar * others @ others.T
        total = total + np.array(values) / 2
    return total


@pytest.mark.parametrize("mode", ["bc", "wga", "local"])
@pytest.mark.parametrize(("K0", "beta"), [(0, 0.0), (0, 0.1), (5, 0.0), (32, 0.3)])
def test_moments_agree_with_dense_matrices(mode, K0, beta):
    alpha = 0.0 if mode == "local" else 0.75
    found = collab_moments(H, B, SHIFT, X0, 0.3, alpha, beta, 0.5, 0.1, 40, K0, mode, bias_error=True).isel(setting=0)
    expected = dense(H, B, SHIFT, X0, 0.3, alpha, beta, 0.5, 0.1, 40, K0, mode)
    for name, column in zip(("gradient", "gap", "bias_error"), expected.T, strict=True):
        np.testing.assert_allclose(found[name], column, rtol=1e-10)


def test_many_settings_are_those_of_each():
    eta, alpha, beta, N = np.array([0.1, 0.5]), np.array([0.5, 0.9]), np.array([0.0, 0.2]), np.array([1.0, 9.0])
    shift = np.stack([SHIFT, -SHIFT])
    both = collab_moments(H, B, shift, X0, eta, alpha, beta, 0.3, 0.3 / N, 300, 2, bias_error=True)
    assert dict(both.sizes) == {"setting": 2, "step": 301}
    for i in range(2):
        one = collab_moments(H, B, shift[i], X0, eta[i], alpha[i], beta[i], 0.3, 0.3 / N[i], 300, 2, bias_error=True)
        for name in both:
            np.testing.assert_allclose(both[name][i], one[name][0], rtol=1e-12)
    weights = collab_moments(H, B, SHIFT, X0, 0.1, alpha, 0.0, 0.3, 0.3, 20, mode="wga", bias_error=True)
    assert dict(weights.sizes) == {"setting": 2, "step": 21}
    one = collab_moments(H, B, SHIFT, X0, 0.1, 0.9, 0.0, 0.3, 0.3, 20, mode="wga", bias_error=True)
    np.testing.assert_allclose(weights.bias_error[1], one.bias_error[0], rtol=1e-12)


def test_simulated_users_have_these_moments():
    runs, N, eta, beta, T, K0, sigma = 4000, 3, 0.4, 0.1, 60, 4, 1.5
    alpha, d, rng = full_weight(N), 3, np.random.default_rng(1)
    # the users' curvatures and gradients differ, their means are what the recursion knows
    curvature = np.array([0.5, 1.0, 1.5])[:, None] * SHIFT + H
    offset = np.array([2.0, 0.5, 0.5])[:, None] * B

    def gradients(x, sign):
        own = H * x + sigma / math.sqrt(d) * rng.standard_normal(x.shape)
        noise = sigma / math.sqrt(d) * rng.standard_normal((N, *x.shape))
        return own, (curvature[:, None] * x + sign[:, None] * offset[:, None] + noise).mean(0)

    sign = np.repeat([1.0, -1.0], runs // 2)
    x = np.tile(X0, (runs, 1))
    c = np.mean([np.subtract(*gradients(x, sign)[::-1]) for _ in range(K0)], axis=0)
    values = [((H * x) ** 2).sum(1)]
    for t in range(T):
        own, others = gradients(x, sign)
        rate = momentum_of_the_bias(beta, K0, t)
        x, c = x - eta * ((1 - alpha) * own + alpha * (others - c)), (1 - rate) * c + rate * (others - own)
        values.append(((H * x) ** 2).sum(1))
    exact = collab_moments(H, B, SHIFT, X0, eta, alpha, beta, sigma**2 / d, sigma**2 / (d * N), T, K0)
    measured, mean = np.mean(values, axis=0), float(exact.gradient.mean())
    assert abs(measured.mean() - mean) <= 4 * measured.std() / math.sqrt(runs)
    assert measured.std() / math.sqrt(runs) <= 0.01 * mean


def test_without_noise_and_bias_all_methods_are_gradient_descent():
    for mode in ("bc", "wga", "local"):
        found = collab_moments(H, 0 * B, 0.0, X0, 0.5, 0.6, 0.0, 0.0, 0.0, 20, 3, mode).isel(setting=0)
        path = X0 * (1 - 0.5 * H) ** np.arange(21)[:, None]
        np.testing.assert_allclose(found.gap, 0.5 * (H * path**2).sum(1), rtol=1e-12)


def test_correction_with_a_known_start_does_not_see_the_bias():
    gradient = [collab_moments(H, z * B, 0.0, X0, 0.2, 0.8, 0.0, 1.0, 0.1, 50, 8).gradient for z in (0.0, 1.0, 10.0)]
    np.testing.assert_allclose(gradient[1], gradient[0], rtol=1e-12)
    np.testing.assert_allclose(gradient[2], gradient[0], rtol=1e-12)


def test_stationary_risk_and_best_weight():
    zeta, eta, N, alphas = 0.3, 0.1, 9, np.linspace(0, 1, 101)
    one = np.ones(1)
    found = collab_moments(one, zeta * one, 0.0, 0 * one, eta, alphas, 0.0, 1.0, 1 / N, 400, mode="wga").gap.isel(
        step=-1
    )
    np.testing.assert_allclose(found, theory.stationary_gap(alphas, zeta, eta, N), rtol=1e-9)
    weight = theory.best_weight(zeta, eta, N)
    for near in (weight - 1e-4, weight + 1e-4):
        assert theory.stationary_gap(weight, zeta, eta, N) < theory.stationary_gap(near, zeta, eta, N)
    floor = theory.stationary_gap(full_weight(N), 0.0, eta, N) * (N + 1) / theory.stationary_gap(0.0, 0.0, eta, N)
    assert floor == pytest.approx(1, rel=1e-14)
    assert theory.best_weight(1.0, 1e-6, 9) < 1e-6


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_the_bias_error_obeys_its_recursion(shift):
    h, T, N = hard_spectrum(6), 200, 7
    eta, beta = (grid.ravel() for grid in np.meshgrid([0.02, 0.5], [0.001, 0.1]))
    alpha, moved = np.full(4, full_weight(N)), hessian_shift(3, h, shift)
    found = collab_moments(
        h, direction(3, 6), moved, even_start(h), eta, alpha, beta, 1 / 6, 1 / 42, T, 32, bias_error=True
    )
    u2, G = found.bias_error.values.T, np.sqrt(found.gradient.values.T)
    betas = np.stack([momentum_of_the_bias(beta, 32, t) for t in range(T + 1)])
    constants = {
        "eta": eta, "alpha": alpha, "delta": abs(moved).max(),
        "sigma_alpha": np.sqrt(theory.mixed_variance(alpha, 1.0, 1.0, N)), "sigma_b": math.sqrt(1 + 1 / N),
    }  # fmt: skip
    right = np.stack(
        [theory.next_bias_error(np.sqrt(u), g, beta=r, **constants) for u, g, r in zip(u2, G, betas, strict=True)]
    )
    ratio = u2[1:] / right[:-1]
    assert ratio.max() <= 1 + 1e-12
    if shift == 0:
        np.testing.assert_allclose(ratio, 1, rtol=1e-12)
    solved = theory.solved_bias_error(np.sqrt(u2[0]), G, betas, **constants)
    assert (u2 <= solved * (1 + 1e-12)).all() and solved.shape == u2.shape


def test_no_method_beats_the_limit_and_it_is_reached():
    one, T, zeta = np.ones(1), 60, 2.0
    for N in (1, 50):
        for K0 in (0, 16):
            gap = collab_moments(
                one, zeta * one, 0.0, 3 * one, np.geomspace(0.01, 0.9, 20), full_weight(N), 0.0, 1.0, 1 / N, T, K0
            ).gap.isel(step=-1)
            assert (gap >= theory.least_gap(1.0, 3.0, T, zeta, K0)).all()
    # the best linear estimator itself: posterior variance of x* given T gradients at known points and a start prior
    gains = [1 / (1 / 9 + t) for t in range(1, T + 1)]
    x2 = 9.0
    for gain in gains:
        x2 = (1 - gain) ** 2 * x2 + gain**2
    assert 0.5 * x2 == pytest.approx(theory.least_gap(1.0, 3.0, T), rel=1e-12)


def test_start_and_shift_are_what_they_say():
    h = hard_spectrum(20)
    assert h[0] == 1 and h[-1] == pytest.approx(1e-4)
    x0 = even_start(h)
    assert 0.5 * (h * x0**2).sum() == pytest.approx(1) and np.ptp(h * x0**2) < 1e-12
    assert (direction(4, 20) ** 2).sum() == pytest.approx(1)
    shift = hessian_shift(4, h, 0.1)
    assert abs(shift).max() <= 0.1 + 1e-15 and (h + shift >= 0.1 * h - 1e-15).all()
    assert set(np.sign(shift)) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\]"),
        ({"beta": -0.1}, "beta must be in"),
        ({"eta": 0.0}, "eta must be > 0"),
        ({"s0": -1.0}, "s0 must be >= 0"),
        ({"delta": -2.0}, r"h \+ alpha delta must be > 0"),
        ({"T": 0}, "T must be an int"),
        ({"mode": "fedavg"}, "mode must be one of"),
        ({"eta": math.nan}, "eta must be > 0, got nan"),
    ],
)
def test_refusals(change, words):
    good = {
        "h": H,
        "b": B,
        "delta": 0.0,
        "x0": X0,
        "eta": 0.1,
        "alpha": 0.5,
        "beta": 0.0,
        "s0": 1.0,
        "sbar": 1.0,
        "T": 5,
    }
    with pytest.raises(ValueError, match=words):
        collab_moments(**(good | change))
    with pytest.raises(ValueError, match="eta must lie in"):
        theory.best_weight(0.1, 2.5, 3)
