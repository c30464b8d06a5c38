"""The explorer of accelerated-lsr: its numbers are the room's, it draws for every value of its controls."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.papers.accelerated_lsr import explorer as accelerated_lsr
from workbench.papers.accelerated_lsr.recursions import lsq_moments, named_spectrum, recommended
from workbench.problems.linear.designs import GaussianDesign


def test_values_are_the_recursion():
    picture = accelerated_lsr.compute(0.4, 0.2, 0.5, "power2", 500, "gauss")
    h = named_spectrum("power2", 50)
    steps = recommended(*GaussianDesign(h).constants, beta_R2=0.2, alpha_ratio=0.4)
    exact = lsq_moments(h, np.full(50, 50**-0.5), 0.25, *steps, T=500)
    for output in ("last", "average"):
        assert picture.curves[output].sel(arm="AcSGD")[-1].item() == pytest.approx(exact[output].item())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "stable, noise floor"),
        ({"alpha_ratio": 52.0}, "no floor; outside the theorem"),
        ({"sigma": 0.0, "horizon": 500}, "Q ="),
    ],
)
def test_draws_and_says_where_it_is(parameters, words):
    figure = Figure()
    assert words in accelerated_lsr.draw(figure, **parameters)
    FigureCanvasAgg(figure).draw()


def test_widget_shares_its_controls_with_the_card():
    explorer = accelerated_lsr.explorer(sigma=0.5)
    explorer.set(design="onehot", horizon=500)
    assert "At T = 500" in explorer._readout.value
    assert set(explorer.shared) == {"alpha_ratio", "beta_R2", "sigma", "spectrum", "design"}
