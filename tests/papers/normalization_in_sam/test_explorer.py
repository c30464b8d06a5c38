"""The explorer of l(xy): what it computes, that it draws, and that it survives the ends of its sliders."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from workbench.papers.normalization_in_sam.explorer import compute, draw, explorer


def test_level_rate_and_half_life_are_the_closed_forms():
    picture = compute(step_size=0.1, rho=0.2, C=9.0, steps=50)
    assert 0.1 * picture.level * (1 + 0.2 * picture.level) == pytest.approx(2.0)
    assert picture.rate == pytest.approx(2 * 0.1 * 0.04)
    assert picture.half_life == pytest.approx(np.log(2) / 0.008)
    for name, imbalance in picture.imbalances.items():
        assert imbalance[0] == pytest.approx(9.0), name


def test_sam_halves_the_imbalance_in_a_half_life():
    picture = compute(step_size=0.05, rho=0.1, C=4.0, steps=3000)
    imbalance, steps = picture.imbalances["SAM"], round(picture.half_life)
    assert imbalance[2000 + steps] / imbalance[2000] == pytest.approx(0.5, abs=0.02)


def test_no_radius_makes_all_rules_the_same():
    picture = compute(step_size=0.1, rho=0.0, steps=100)
    np.testing.assert_allclose(picture.paths["SAM"], picture.paths["GD"], atol=1e-12)
    assert picture.half_life == np.inf


@pytest.mark.parametrize("loss", ["sqrt", "logcosh"])
def test_every_corner_of_the_sliders_draws(loss):
    for step_size, rho, C in itertools.product((0.005, 0.2), (0.0, 1.0), (1.0, 36.0)):
        figure = Figure(figsize=(9, 4.2))
        text = draw(figure, step_size=step_size, rho=rho, C=C, loss=loss, steps=200)
        left, right = figure.axes
        assert left.get_xlabel() == "$x$" and right.get_yscale() == "log"
        assert "half-life" in text
        figure.canvas.draw()


def test_the_widget_redraws_when_a_slider_moves():
    widget = explorer(rho=0.3)
    before = widget.redraws
    widget.set(step_size=0.02, steps=500)
    assert widget.redraws > before and widget.values["rho"] == 0.3
    assert "SAM" in widget._readout.value
