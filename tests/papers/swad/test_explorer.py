"""The explorer of swad: its window is the rule's, its accuracy that of the mean over the window."""

import importlib

import numpy as np
import pytest
from matplotlib.figure import Figure

from workbench.papers.swad.weight_averages import metrics_of

# The room exports the function of the same name.
explorer = importlib.import_module("workbench.papers.swad.explorer")

SHORT = {"steps": 200, "every": 10, "step_size": 0.03}


def test_the_picture_shows_the_mean_over_the_window():
    picture = explorer.compute("45°", 2, 3, 1.1, **SHORT)
    problem, path = explorer.trained(**SHORT)[3]
    low, high = picture.window
    averaged = metrics_of(problem, path, path.segments[low : high + 1].mean(0))[3]
    assert picture.averaged == pytest.approx(100 * float(averaged), abs=0.4)
    np.testing.assert_allclose(picture.threshold, 1.1 * picture.losses[low : low + 2].mean(), rtol=1e-5)
    assert picture.accuracies[picture.chosen] == pytest.approx(100 * float(path.metrics[picture.chosen, 3]))


def test_trained_once_for_all_pictures():
    assert explorer.trained(**SHORT) is explorer.trained(**SHORT)


@pytest.mark.parametrize("target", explorer.DOMAINS)
def test_draws_every_domain_and_an_open_window(target):
    figure = Figure(figsize=(9, 4.2))
    text = explorer.draw(figure, target=target, n_tolerance=12, tolerance=2.0, **SHORT)
    assert "still open at the end" in text and len(figure.axes) == 2


def test_an_unknown_domain_is_refused():
    with pytest.raises(ValueError, match="target must be one of 0°"):
        explorer.compute("90°", **SHORT)
