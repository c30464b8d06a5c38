"""The explorer's numbers against closed forms; its picture is drawn for every choice."""

import importlib

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers import by_name
from workbench.problems import ScalarFactorisation

explorer = importlib.import_module("workbench.papers.eigenvalue_filtering.explorer")  # the room's function has its name


def test_band_and_curve_of_usam():
    picture = explorer.compute("usam", "none", 0.5, 0.5)
    assert picture.band == [(-4.0, -2.0), (0.0, 2.0)]
    np.testing.assert_allclose(picture.ratios, 0.25 * picture.eigenvalues * (1 + 0.5 * picture.eigenvalues))


@pytest.mark.parametrize("name", ["hessian_usam+nesterov", "gradient_penalty+heavy_ball", "two_step_usam"])
def test_runs_side_by_side_are_each_run_alone(name):
    kind, _, momentum = name.partition("+")
    picture = explorer.compute(kind, momentum or "none", 0.1, 0.05, 0.5)
    rule = by_name(name, 0.1, rho=0.05, beta=0.5)
    step = update_map(ScalarFactorisation(), rule)
    for run in np.flatnonzero(picture.settled)[:2]:
        state = resting(rule, torch.as_tensor(picture.starts[:, run]))
        for _ in range(400):
            state = step(*state)
        np.testing.assert_allclose(picture.ends[:, run], state[0], rtol=1e-8, atol=1e-12)


def test_every_limit_lies_in_the_band():
    for momentum in explorer.MOMENTA:
        picture = explorer.compute("gd", momentum, 0.4, 0.0, 0.5)
        found = picture.limit_sharpness[picture.settled]
        assert found.size > 50 and found.min() >= 2 - 1e-3 and found.max() <= picture.band[-1][1] + 1e-2


def test_large_radius_takes_usam_to_the_saddle_and_two_step_usam_not():
    # At the saddle the sharpness is 1, at every minimum at least 2.
    assert (explorer.compute("usam", "none", 0.05, 1.5).limit_sharpness < 1.01).any()
    assert not (explorer.compute("nested_usam", "none", 0.05, 1.5).limit_sharpness < 1.01).any()


@pytest.mark.parametrize("kind", explorer.KINDS)
def test_draws_every_kind(kind):
    figure = Figure(figsize=(9, 4))
    text = explorer.draw(figure, kind=kind, momentum="nesterov", step_size=1.5, rho=2.0, beta=0.9)
    assert "Pass band" in text and len(figure.axes) >= 2


def test_the_widget_starts_at_the_given_values():
    widget = explorer.explorer(kind="usam", rho=1.3)
    assert widget.values["rho"] == 1.3 and widget.values["kind"] == "usam"
