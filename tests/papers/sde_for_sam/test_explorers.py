"""Both explorers: their numbers are the room's, they draw at every corner, and share their controls with the card."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.papers.sde_for_sam import basin_explorer, explorer, stationary


def test_values_are_the_closed_forms():
    picture = explorer.compute(2.0, 0.4, 0.3, 0.02, 4)
    for kind in stationary.KINDS:
        assert picture.here[kind][0] == stationary.sde_variance(kind, 2.0, 0.4, 0.3, 0.02, 4)
        assert picture.here[kind][1] == stationary.discrete_variance(kind, 2.0, 0.4, 0.3, 0.02, 4)
    assert picture.threshold == stationary.saddle_threshold(-2.0, 0.3, 4)
    assert np.isnan(explorer.compute(10.0, 2.0, 0.3, 0.5, 4).here["usam"][1])


@pytest.mark.parametrize(
    ("module", "parameters", "words"),
    [
        (explorer, {}, "traps noisy SAM above rho_c"),
        (explorer, {"eta": 0.5, "curvature": 10.0}, "Unstable at this step size: SGD, USAM, SAM"),
        (explorer, {"rho": 0.0, "d": 100}, "USAM 1.000, SAM 1.000"),
        (basin_explorer, {}, "100% of those within the ball"),
        (basin_explorer, {"l1": 0.0, "basin_rho": 2.0}, "of the starts end nearer"),
    ],
)
def test_draws_and_says_where_it_is(module, parameters, words):
    figure = Figure()
    assert words in module.draw(figure, **parameters)
    FigureCanvasAgg(figure).draw()


def test_widgets_share_their_controls_with_the_card():
    first = explorer.explorer(sigma=0.3)
    first.set(d=2, rho=1.0)
    assert "USAM with rho = 2.09" in first._readout.value
    assert set(first.shared) == {"curvature", "rho", "sigma", "eta"}
    second = basin_explorer.explorer()
    second.set(l1=-1.0)
    assert set(second.shared) == {"basin_rho", "basin_eta"}
