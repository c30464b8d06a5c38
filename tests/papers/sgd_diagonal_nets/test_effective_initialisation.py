"""The formulas of the loss integral and the effective initialisation, against flows, brute force and small steps."""

import math

import numpy as np
import pytest
import torch

from workbench.draws import Integers, Normal, numbers
from workbench.papers.sgd_diagonal_nets.data import sparse_data
from workbench.papers.sgd_diagonal_nets.effective_initialisation import (
    bregman,
    descent_log_decay,
    effective_initialisation,
    flow_loss_integral,
    log_decay,
    power,
    predicted_limit,
)
from workbench.papers.sgd_diagonal_nets.runs import descent, noise_integral
from workbench.problems.factorised.diagonal_potential import argmin_phi, phi

DATA = sparse_data(4, n=4, d=9, k=2)


@pytest.mark.parametrize("time", [0.3, 2.0])
def test_the_loss_integral_of_the_flow_at_finite_times(time):
    """RK4 written out, with the integral as one more state."""
    inputs, targets, alpha = DATA.inputs.numpy(), DATA.targets.numpy(), 0.2

    def slope(state):
        plus, minus = state[:9], state[9:18]
        r = inputs @ (plus**2 - minus**2) - targets
        g = inputs.T @ r / 4
        return np.concatenate([-g * plus, g * minus, [(r**2).sum() / 16]])

    state, steps = np.concatenate([np.full(18, alpha), [0.0]]), 1000
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + time / steps / 2 * k1)
        k3 = slope(state + time / steps / 2 * k2)
        k4 = slope(state + time / steps * k3)
        state = state + time / steps / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    beta_t = torch.from_numpy(state[:9] ** 2 - state[9:18] ** 2)
    limit = argmin_phi(DATA.inputs, DATA.targets, alpha)
    assert float(flow_loss_integral(limit, alpha, beta_t)) == pytest.approx(state[18], rel=1e-9)
    # Any interpolator serves: the identity is of the mirror flow, not of its limit.
    assert float(flow_loss_integral(DATA.truth, alpha, beta_t)) == pytest.approx(state[18], rel=1e-9)


def test_the_whole_integral_and_bregmans_signs():
    limit, other = argmin_phi(DATA.inputs, DATA.targets, 0.1), DATA.truth + 0.3
    assert float(flow_loss_integral(limit, 0.1)) == pytest.approx(0.5 * float(phi(limit, 0.1)), rel=1e-14)
    assert abs(float(bregman(limit, limit, 0.1))) < 1e-15 and float(bregman(limit, other, 0.1)) > 0
    zero = torch.zeros(9).double()
    assert float(bregman(other, zero, 0.1)) == pytest.approx(float(phi(other, 0.1)), rel=1e-13)


def test_the_power_is_the_slope_of_the_decay_in_log_alpha():
    """K ~ gamma D phi_alpha(beta): the difference quotient over two tiny alphas is zeta to 1/ln(1/alpha)."""
    gamma = 0.03
    decays = [log_decay(DATA.inputs, gamma, flow_loss_integral(DATA.truth, alpha)) for alpha in (1e-12, 1e-13)]
    torch.testing.assert_close(
        (decays[1] - decays[0]) / math.log(10), power(DATA.inputs, DATA.truth, gamma), rtol=1e-9, atol=0
    )


def test_the_limit_is_the_one_of_the_potential_at_the_effective_scale():
    alpha, gamma, integral, noise = 0.1, 0.02, 3.0, 1.5
    decays = [2 * gamma * float(column @ column) / 4 * (integral + noise) for column in DATA.inputs.T]
    scale = torch.tensor([alpha * math.exp(-decay) for decay in decays], dtype=torch.float64)
    torch.testing.assert_close(
        effective_initialisation(DATA.inputs, alpha, gamma, integral, noise), scale, rtol=1e-13, atol=0
    )
    beta = predicted_limit(DATA.inputs, DATA.targets, alpha, gamma, integral, noise)
    torch.testing.assert_close(DATA.inputs @ beta, DATA.targets, rtol=0, atol=1e-10)
    # KKT: arcsinh(beta/(2 alpha^2)) lies in the row space of X.
    multiplier = torch.asinh(beta / (2 * scale**2))
    outside = multiplier - DATA.inputs.T @ torch.linalg.lstsq(DATA.inputs.T, multiplier).solution
    assert outside.abs().max() < 1e-9 * multiplier.abs().max()


def plain_sgd(seed, gamma, steps, delta=0.0, until=0):
    """The multiplicative step written out, on the run's own samples and signs."""
    samples = numbers(Integers("batches", 4, (1,)), seed, steps)[:, 0]
    labels = numbers(Normal("labels", (1,)), seed, steps)[:, 0]
    plus = minus = torch.full((9,), 0.1, dtype=torch.float64)
    residuals, integral = [], 0.0
    for t, i in enumerate(samples.tolist()):
        beta = plus**2 - minus**2
        integral += gamma * float(((DATA.inputs @ beta - DATA.targets) ** 2).sum()) / 16
        noise = 2 * delta * (-1.0 if labels[t] < 0 else 1.0) if t < until else 0.0
        r = DATA.inputs[i] @ beta - DATA.targets[i] - noise
        plus, minus = plus * (1 - gamma * r * DATA.inputs[i]), minus * (1 + gamma * r * DATA.inputs[i])
        residuals.append(r)
    return torch.stack([plus, minus]), integral, torch.stack(residuals), samples


@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_sgd_is_the_plain_loop_and_its_decay_the_exact_product(delta):
    gamma, steps, until = 0.03, 150, 90
    network = DATA.network(0.1)
    run = descent(network, gamma, steps, 5, delta=delta, noise_until=until)
    parameters, integral, residuals, samples = plain_sgd(5, gamma, steps, delta, until)
    torch.testing.assert_close(run.parameters, parameters, rtol=1e-10, atol=1e-15)
    assert float(run.integrals["loss"]) == pytest.approx(integral, rel=1e-11)
    torch.testing.assert_close(
        descent_log_decay(DATA.inputs, residuals, samples, gamma), network.log_decay(parameters), rtol=0, atol=1e-11
    )
    assert noise_integral(gamma, steps, delta, until) == pytest.approx(gamma * delta**2 * until)


def test_the_mean_decay_of_a_step_is_the_formulas_by_enumeration():
    """All samples and both signs of the label: E K = (gamma^2/2)(1/n) sum x_i^2 (r_i^2 + 4 delta^2) + O(gamma^4).

    With residuals of one size it is the formula's 2 gamma D (L + delta^2) gamma.
    """
    delta, gamma = 0.3, 1e-3
    r = 0.7 * torch.tensor([1.0, -1.0, -1.0, 1.0]).double()
    steps = [(i, r[i] + sign * 2 * delta) for i in range(4) for sign in (-1, 1)]
    mean = sum(descent_log_decay(DATA.inputs, value[None], torch.tensor([i]), gamma) for i, value in steps) / 8
    loss = float((r**2).sum()) / 16
    torch.testing.assert_close(mean, log_decay(DATA.inputs, gamma, gamma * loss, gamma * delta**2), rtol=1e-4, atol=0)


def test_descents_of_other_kinds():
    network = DATA.network(0.1)
    run = descent(network, 0.05, 40, 0, method="gd")
    w = torch.full((2, 9), 0.1, dtype=torch.float64)
    for _ in range(40):
        g = DATA.inputs.T @ (DATA.inputs @ (w[0] ** 2 - w[1] ** 2) - DATA.targets) / 4
        w = torch.stack([w[0] * (1 - 0.05 * g), w[1] * (1 + 0.05 * g)])
    torch.testing.assert_close(run.parameters, w, rtol=1e-11, atol=0)
    with pytest.raises(ValueError, match="delta"):
        descent(network, 0.05, 4, 0, method="gd", delta=0.1)
    with pytest.raises(ValueError, match="method"):
        descent(network, 0.05, 4, 0, method="adam")
