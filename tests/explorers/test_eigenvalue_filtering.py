"""The explorer's numbers against closed forms; its picture is drawn for every choice."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from workbench.explorers import eigenvalue_filtering as explorer


def test_band_and_curve_of_usam():
    picture = explorer.compute("usam", "none", 0.5, 0.5)
    assert picture.band == [(-4.0, -2.0), (0.0, 2.0)]
    np.testing.assert_allclose(picture.ratios, 0.25 * picture.eigenvalues * (1 + 0.5 * picture.eigenvalues))


def test_every_limit_lies_in_the_band():
    for momentum in explorer.MOMENTA:
        picture = explorer.compute("gd", momentum, 0.4, 0.0, 0.5)
        found = picture.limit_sharpness[picture.settled]
        assert found.size > 50 and found.min() >= 2 - 1e-3 and found.max() <= picture.band[-1][1] + 1e-2


def test_large_radius_takes_usam_to_the_saddle_and_two_step_usam_not():
    # At the saddle the sharpness is 1, at every minimum at least 2.
    assert (explorer.compute("usam", "none", 0.05, 1.5).limit_sharpness < 1.01).any()
    assert not (explorer.compute("usam_nested", "none", 0.05, 1.5).limit_sharpness < 1.01).any()


@pytest.mark.parametrize("kind", explorer.KINDS)
def test_draws_every_kind(kind):
    figure = Figure(figsize=(9, 4))
    text = explorer.draw(figure, kind=kind, momentum="nesterov", step_size=1.5, rho=2.0, beta=0.9)
    assert "Pass band" in text and len(figure.axes) >= 2


def test_the_widget_starts_at_the_given_values():
    widget = explorer.explorer(kind="usam", rho=1.3)
    assert widget.values["rho"] == 1.3 and widget.values["kind"] == "usam"
