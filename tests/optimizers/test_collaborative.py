"""Averaging over users: the formulas written out, special cases, and the moments of many noisy runs."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.dynamics.sources import AdditiveNoise, Minibatches, Users
from workbench.optimizers import GradientAveraging, NotProvided, RunningMean, SwitchOn
from workbench.problems.base import Problem

START = torch.tensor([1.0, -2.0], dtype=torch.float64)


class Bowl(Problem):
    """h x^2/2 + b x, with tensors that may differ from run to run."""

    def __init__(self, h, b=(0.0, 0.0)):
        self.h, self.b = (torch.as_tensor(value, dtype=torch.float64) for value in (h, b))

    def loss(self, parameters):
        return (self.h * parameters**2 / 2 + self.b * parameters).sum()


OWN, OTHERS = Bowl([1.0, 0.5]), (Bowl([2.0, 0.1], [0.3, 0.0]), Bowl([1.0, 0.3], [0.1, -0.4]))
USERS = Users((OWN, *OTHERS))


def run(rule, steps, **options):
    return wb.run(OWN, rule, start=START, source=USERS, steps=steps, **options)


def test_three_steps_written_out():
    x, c, beta = START.numpy(), np.zeros(2), 0.25
    for t in range(3):
        own = np.array([1.0, 0.5]) * x
        others = np.array([1.5, 0.2]) * x + np.array([0.2, -0.2])
        rate = max(beta, 1 / (t + 1))
        x, c = x - 0.2 * (0.3 * own + 0.7 * (others - c)), (1 - rate) * c + rate * (others - own)
    found = run(GradientAveraging(0.2, 0.7, RunningMean(beta)), 3)
    np.testing.assert_allclose(found.parameters, x, rtol=1e-13)


def test_alone_it_is_gradient_descent():
    alone = wb.run(OWN, wb.optimizers.gradient_descent(0.3), start=START, steps=5)
    torch.testing.assert_close(run(GradientAveraging(0.3, 0.0, 0.5), 5).parameters, alone.parameters)


def test_equal_weights_descend_the_mean_of_all_users():
    everyone = Bowl((OWN.h + OTHERS[0].h + OTHERS[1].h) / 3, (OTHERS[0].b + OTHERS[1].b) / 3)
    mean = wb.run(everyone, wb.optimizers.gradient_descent(0.3), start=START, steps=5)
    torch.testing.assert_close(run(GradientAveraging(0.3, 2 / 3), 5).parameters, mean.parameters)


def test_correction_ends_at_ones_own_minimum_and_averaging_does_not():
    corrected = run(GradientAveraging(0.5, 2 / 3, 0.1), 400).parameters
    averaged = run(GradientAveraging(0.5, 2 / 3), 400).parameters
    assert corrected.abs().max() < 1e-8 < 0.1 < averaged.abs().max()


def test_waiting_steps_learn_the_mean_difference_without_moving():
    waiting = GradientAveraging(SwitchOn(0.2, 3), 0.7, RunningMean())
    assert torch.equal(run(waiting, 3).parameters, START)
    one = run(waiting, 4).parameters
    own = OWN.h * START
    torch.testing.assert_close(
        one, START - 0.2 * own
    )  # the bias at the start is known exactly: without noise all of it goes
    assert float(RunningMean(0.3)(torch.tensor(9.0))) == pytest.approx(0.3)


def test_swept_weights_and_noise_of_each_user():
    source = Users((OWN, *OTHERS), AdditiveNoise(0.5))

    def end(seed, alpha):
        rule = GradientAveraging(0.2, alpha, 0.1)
        return {"x": wb.run(OWN, rule, seed=seed, start=START, source=source, steps=20).parameters}

    swept = wb.sweep(end, seed=range(3), alpha=[0.0, 0.6], progress=False)
    alone = end(2, 0.6)["x"]
    np.testing.assert_allclose(swept.x.sel(seed=2, alpha=0.6), alone, rtol=1e-12)
    assert float(swept.x.sel(alpha=0.6).std("seed").min()) > 0


def test_noise_falls_with_the_number_of_users():
    def spread(others):
        members = Users((OWN, *[Bowl([1.0, 0.5])] * others), AdditiveNoise(1.0))

        def end(seed):
            rule = GradientAveraging(0.5, others / (others + 1))
            return {"x": wb.run(OWN, rule, seed=seed, start=0 * START, source=members, steps=12).parameters}

        return float((wb.sweep(end, seed=range(400), progress=False).x ** 2).mean())

    # each of two coordinates and 400 seeds: a chi-square of 800 degrees of freedom in both
    assert spread(1) / spread(7) == pytest.approx(4, rel=4 * math.sqrt(4 / 800))


def test_minibatches_of_every_user():
    torch.manual_seed(0)
    users = [
        wb.problems.LeastSquares(torch.randn(10, 3, dtype=torch.float64), torch.randn(10, dtype=torch.float64))
        for _ in range(3)
    ]
    rule, source = GradientAveraging(0.1, 0.6, RunningMean(0.01)), Users(tuple(users), Minibatches(2, "replacement"))
    losses = wb.run(users[0], rule, source=source, steps=30, record=["train_loss"]).records["train_loss"].value
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GradientAveraging(0.0, 0.5), "step_size"),
        (lambda: GradientAveraging(0.1, 1.5), "alpha"),
        (lambda: GradientAveraging(0.1, 0.5, -0.1), "beta"),
    ],
)
def test_hyper_parameters_out_of_range(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_runs_without_users_are_refused_in_words():
    with pytest.raises(NotProvided, match="several users: give source=Users"):
        wb.run(OWN, GradientAveraging(0.1, 0.5), start=START, steps=1)
    with pytest.raises(NotProvided, match=r"other users: .*own problem alone"):
        wb.run(OWN, GradientAveraging(0.1, 0.5), start=START, steps=1, source=Users((OWN,)))
