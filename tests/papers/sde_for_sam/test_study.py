"""What the notebook measures flips under its control switches, and its figures say in words what they show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import workbench as wb
from workbench.papers import sde_for_sam as room
from workbench.papers.sde_for_sam import study


def test_the_last_slope_is_between_the_two_smallest_places():
    values = xr.DataArray([9.0, 4.0, 0.5], dims="eta", coords={"eta": [0.4, 0.2, 0.1]})
    assert float(room.last_slope(values, "eta")) == pytest.approx(3)


def test_errors_are_guarded_by_a_finer_grid_and_flip_without_rho():
    found = room.guarded_errors([0.1, 0.05], lambda eta: (0.01 * eta) ** 0.5 * 3.16, "usam")
    assert 0 < found.grid_change < 0.01 and found.notnull().all()
    slopes = room.last_slope(found, "eta")
    assert slopes.sel(sde="own") > 0.75 > slopes.sel(sde="sgd")


def test_variance_samples_are_near_one_and_not_without_rho():
    setting = {"eigenvalue": 3.0, "rho": 0.5, "sigma": 0.5, "eta": 0.01}
    found, ratio = room.variance_samples("sam", range(20), [4], 900, **setting)
    assert abs(float(ratio.mean()) - 1) < 0.2 and found.dims == ratio.dims == ("d", "seed")
    assert float(room.variance_samples("sam", range(20), [4], 900, rho_run=0.0, **setting)[1].mean()) < 0.6


def test_arms_of_the_embedded_saddle_and_their_controls():
    own = room.embedded_arms()
    assert own["SGD"] == ("sgd", 0.0) and own["SAM 0.5"] == ("sam", 0.5) and len(own) == 6
    assert room.embedded_arms("swapped")["SAM 0.5"] == ("usam", 0.5)
    exchanged = room.embedded_arms("exchanged")
    assert exchanged["USAM 0.3"] == ("usam", 1.5) and exchanged["DNSAM 0.5"] == ("sgd", 0.0)
    assert all(rho == 0 for _, rho in room.embedded_arms("own", 0.0).values())
    with pytest.raises(ValueError, match="embedded_arms must be own, swapped or exchanged, got 'off'"):
        room.embedded_arms("off")


def test_basins_name_their_spectra():
    found = study.basins(range(2), 0.5, 0.02, steps=1200)
    assert found.dims == ("spectrum", "seed") and "3, -0.6, -1.2" in found.spectrum.values
    assert (found <= 1).all()


def test_figures_have_words():
    network = room.tumours(0, 30, 2)
    figures = [
        room.draw_one_step(room.one_step_errors(network, [0], [1e-5, 1e-4, 1e-3])),
        room.draw_weak_errors({"quadratic": room.weak_errors_quadratic([0.1, 0.05], 0.1, T=1.0)}),
        room.draw_basin((1.0, -0.5), 0.5, 0.05),
    ]
    for figure, words in zip(
        figures, ("slopes at the smallest radii", "last local slope", "within the ball"), strict=True
    ):
        assert words in wb.figures.alt_text(figure)
        plt.close(figure)
    left = xr.DataArray(np.eye(2, 6, dtype=bool), dims=("multiple", "seed"), coords={"multiple": [0.8, 1.25]})
    figure = room.draw_escape({1: left, 2: left}, left, 1)
    assert "trapped at 0.8: 5 of 6, 1.25: 5 of 6" in wb.figures.alt_text(figure)
    plt.close(figure)
