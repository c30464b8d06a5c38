"""The explorer of flat-minima-sco: its numbers are the closed forms, it draws for every value of its controls."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.papers.flat_minima_sco import valley_truths
from workbench.papers.flat_minima_sco.explorer import ITERATES, compute, draw, explorer


@pytest.mark.parametrize("T", ITERATES)
@pytest.mark.parametrize("share", [0.0, 0.37, 1.0])
def test_values_are_the_closed_forms(T, share):
    picture = compute(0.2, 0.8, T, share)
    assert picture.risk == valley_truths.suffix_risk(0.2, 0.8, T, picture.tau)
    assert picture.least == picture.risks.min() and 1 <= picture.tau <= T
    assert picture.saer == pytest.approx(8 * 0.64 / T)
    np.testing.assert_allclose(picture.shares[[0, -1]], [1 / T, 1])


@pytest.mark.parametrize(("rho", "words"), [(0.1, "covered"), (0.4, "beyond"), (0.5, "no effect")])
def test_phases_in_words(rho, words):
    assert words in compute(rho, 0.8, 64, 0.0).words


@pytest.mark.parametrize("parameters", [{}, {"rho": 0.5, "c": 0.05, "T": 16, "share": 1.0}, {"rho": 0.0, "c": 1.0}])
def test_draws(parameters):
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure).draw() if draw(figure, **parameters) else None
    assert len(figure.axes) == 3


@pytest.mark.parametrize("bad", [{"c": 1.5}, {"rho": -0.1}, {"share": 2.0}, {"T": 0}])
def test_values_outside_their_range_are_refused(bad):
    with pytest.raises(ValueError, match="needs rho >= 0"):
        compute(**bad)


def test_widget_redraws_at_new_values():
    shown = explorer(rho=0.2)
    shown.set(rho=0.45, T=64)
    assert "tau = 1," in shown._readout.value and "beyond the theorem" in shown._readout.value
