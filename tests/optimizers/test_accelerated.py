"""Accelerated rules against their equations written out, and what they are as special cases."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.draws import Exponential, numbers
from workbench.optimizers import acsgd, continuized, gradient_descent
from workbench.optimizers.accelerated import Continuized, ContinuizedConvex

PROBLEM = wb.problems.quadratic([1.0, 0.3, 0.05])
START = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
H = torch.tensor([1.0, 0.3, 0.05], dtype=torch.float64)


def test_acsgd_follows_its_three_lines():
    x, y, z = START, START, START
    for t in range(20):
        g = H * y
        x, z = y - 0.2 * g, z - 0.03 * (t + 1) * g
        y = ((t + 1) * x + z) / (t + 2)
    run = wb.run(PROBLEM, acsgd(0.2, 0.03), steps=20, start=START, record={"x": ("x", "train_loss")}, at=[20])
    torch.testing.assert_close(run.parameters, y, rtol=1e-12, atol=0)
    torch.testing.assert_close(run.points["x"], x, rtol=1e-12, atol=0)
    torch.testing.assert_close(run.points["z"], z, rtol=1e-12, atol=0)
    assert run.records["x"].value[-1].item() == pytest.approx(PROBLEM.loss(x).item())


def test_acsgd_with_equal_steps_is_nesterov_for_convex_functions():
    """y_{t+1} = x_{t+1} + t/(t+2) (x_{t+1} - x_t) with x_{t+1} = y_t - step g(y_t)."""
    x, y = START, START
    for t in range(15):
        previous, x = x, y - 0.3 * H * y
        y = x + t / (t + 2) * (x - previous)
    run = wb.run(PROBLEM, acsgd(0.3, 0.3), steps=15, start=START)
    torch.testing.assert_close(run.parameters, y, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("mu", [0.05, 0.0])
def test_continuized_is_theorem_three(mu):
    """The discretisation with tau, tau' of arXiv:2106.07644, from the run's own waiting times."""
    L, steps, seed = 1.0, 25, 4
    waiting = numbers(Exponential("waiting", ()), seed, steps).tolist()
    x = z = START.numpy()
    h, time = H.numpy(), 0.0
    for wait in waiting:
        after = time + wait
        if mu:
            a = np.sqrt(mu / L)
            tau, tau_z, z_step = (1 - np.exp(-2 * a * wait)) / 2, np.tanh(a * wait), 1 / np.sqrt(mu * L)
        else:
            tau, tau_z, z_step = 1 - (time / after) ** 2, 0.0, after / (2 * L)
        y = x + tau * (z - x)
        x, z, time = y - h * y / L, z + tau_z * (y - z) - z_step * h * y, after
    run = wb.run(PROBLEM, continuized(1 / L, mu), seed=seed, steps=steps, start=START, record={"t": "time"}, at=[steps])
    np.testing.assert_allclose(run.parameters, x, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(run.points["z"], z, rtol=1e-10, atol=1e-13)
    assert run.records["t"].value[-1].item() == pytest.approx(sum(waiting))


def test_without_mixing_it_is_gradient_descent_at_random_times():
    for rule in (Continuized(0.2, 0.0, 0.0, 1.0), ContinuizedConvex(0.2, 0.0, 1.0)):
        run = wb.run(PROBLEM, rule, steps=10, start=START)
        torch.testing.assert_close(
            run.parameters, wb.run(PROBLEM, gradient_descent(0.2), steps=10, start=START).parameters
        )


def test_swept_seeds_and_rates_are_single_runs():
    def train(seed, mu):
        rule = Continuized(1.0, mu.sqrt(), mu.sqrt(), 1 / mu.sqrt())
        return {"loss": PROBLEM.loss(wb.run(PROBLEM, rule, seed=seed, steps=8, start=START).parameters)}

    swept = wb.sweep(train, seed=[0, 3], mu=[0.05, 0.2], progress=False).loss
    alone = wb.run(PROBLEM, continuized(1.0, 0.2), seed=3, steps=8, start=START)
    assert swept.sel(seed=3, mu=0.2).item() == pytest.approx(PROBLEM.loss(alone.parameters).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: acsgd(0.0, 0.1), "step_size must be a finite number in"),
        (lambda: acsgd(0.1, -0.1), "alpha must be a finite number in"),
        (lambda: continuized(0.1, 20.0), "mu must be a finite number in"),
        (lambda: Continuized(0.1, -1.0, 0.0, 0.0), "eta must be"),
        (lambda: ContinuizedConvex(0.1, 2.0, float("nan")), "z_slope must be"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
