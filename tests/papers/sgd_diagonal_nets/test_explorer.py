"""The explorer's limits against the theorem, what its sliders move, and the command that it hands out."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from workbench.papers.sgd_diagonal_nets.data import sparse_data
from workbench.problems.factorised.diagonal_potential import argmin_phi, phi

# The package has a function of that name.
explorer = importlib.import_module("workbench.papers.sgd_diagonal_nets.explorer")


def test_the_limits_are_the_theorems():
    picture, one = explorer.compute(alpha=0.02, loss_integral=3.0, noise_integral=1.0, seed0=2), explorer.data_set(2)
    data = sparse_data(2)
    scale = 0.02 * torch.exp(-2 * one.gamma * (data.inputs**2).mean(0) * 4.0)
    limit = argmin_phi(data.inputs, data.targets, scale)
    np.testing.assert_allclose(picture.stochastic, limit, rtol=1e-9, atol=1e-12)
    assert picture.tests[1] == pytest.approx(float(((limit - data.truth) ** 2).sum()), rel=1e-9)
    assert picture.effective == pytest.approx(float(scale.log().mean().exp()))
    assert picture.own_integral == pytest.approx(float(phi(torch.from_numpy(picture.flow), 0.02)) / 2)
    still = explorer.compute(alpha=0.02, loss_integral=0.0, seed0=2)
    np.testing.assert_array_equal(still.flow, still.stochastic)


def test_more_integrated_loss_means_a_sparser_solution():
    norms = [np.abs(explorer.compute(loss_integral=value).stochastic).sum() for value in (0.0, 5.0, 30.0)]
    assert norms[0] > norms[1] > norms[2]


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"loss_integral": -1.0}, {"noise_integral": -0.5}])
def test_values_outside_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        explorer.compute(**wrong)


def test_a_picture_and_a_command():
    figure = plt.figure(figsize=(10, 4.2))
    words = explorer.draw(figure, alpha=0.01, loss_integral=6.0)
    plt.close(figure)
    assert "alpha_infinity" in words
    shown = explorer.explorer(alpha=0.05)
    assert shown.command() == "workbench run sgd-diagonal-nets -p alpha=0.05 -p seed0=0"
    before = shown.picture
    shown.set(alpha=0.001, noise_integral=2.0)
    assert shown.picture != before
    shown.reset()
    assert shown.picture == before


def test_measured_runs_lie_below_the_start(monkeypatch):
    monkeypatch.setattr(explorer, "STEPS", 300)
    explorer.sgd_runs.cache_clear()
    runs = explorer.compute(runs="SGD").runs
    explorer.sgd_runs.cache_clear()
    assert (
        runs.shape == (explorer.RUNS, 2) and (runs[:, 0] < 0.01).all() and len(np.unique(runs[:, 1])) == explorer.RUNS
    )
