"""The explorer of continuized-nesterov: its numbers are the room's, it draws for every value of its controls."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.papers.continuized_nesterov import explorer as continuized
from workbench.papers.continuized_nesterov.gossip import exact_gossip_rate
from workbench.papers.continuized_nesterov.graphs import graph


def test_values_are_the_rooms():
    picture = continuized.compute("cycle", 6, 0.9, 1.2, 3)
    one = graph("cycle", 6)
    exact = exact_gossip_rate(one, theta_scale=0.9, gamma_z_scale=1.2)
    assert picture.rate * one.constants.theta == pytest.approx(exact)
    assert picture.accelerated[0] == pytest.approx(1) and picture.plain[0] == pytest.approx(1)
    assert np.diff(picture.plain).max() <= 1e-12  # an exchange never takes nodes further apart


@pytest.mark.parametrize(("parameters", "words"), [({}, "times as fast"), ({"gamma_z_scale": 4.0}, "it explodes")])
def test_draws_and_says_how_fast(parameters, words):
    figure = Figure()
    assert words in continuized.draw(figure, **parameters)
    FigureCanvasAgg(figure).draw()


def test_widget_shares_its_controls_with_the_card():
    explorer = continuized.explorer(graph="star")
    explorer.set(n_nodes=10)
    assert "theta = " in explorer._readout.value
    assert set(explorer.shared) == {"graph", "n_nodes", "gamma_z_scale"}
