"""What several papers draw: ratios are paired, slopes are those of the data, images keep their pixels."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from workbench import figures


@pytest.fixture
def axes():
    fig, pair = plt.subplots(2, 1)
    yield pair
    plt.close(fig)


def errors():
    """Seeds differ by factors of ten, and every seed's SAM is .8 or .9 times its own SGD."""
    sgd = 10.0 ** np.arange(6)
    values = np.stack([sgd, sgd * np.array([0.8, 0.9] * 3), 1.25 * sgd], 1)
    return xr.DataArray(
        values, dims=("seed", "rule"), coords={"rule": ["sgd", "sam", "two_step_usam"]}, name="test_error"
    )


def test_ratios_are_paired_by_seed_and_their_interval_is_that_of_the_logarithm(axes):
    ax = figures.paired_ratio(axes[0], errors(), "sgd", arm="rule")
    centre, low, high = figures.interval(np.array([0.8, 0.9] * 3), "geometric")
    row = next(line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(row, [low, high])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["sam", "two step usam"]
    assert f"sam: {centre:.3g} [{low:.3g}, {high:.3g}], 6 seeds" in figures.alt_text(ax.figure)
    assert ax.get_xlabel() == "test error over that of sgd"


def test_seeds_without_their_pair_are_left_out_and_counted(axes):
    values = errors()
    values[2, 0] = np.nan
    ax = figures.paired_ratio(axes[0], values, "sgd", arm="rule")
    assert "5 seeds, 1 seeds missing" in figures.alt_text(ax.figure)


def test_ratios_over_a_swept_value_are_bands(axes):
    swept = xr.concat([errors(), 2 * errors()], "rho").assign_coords(rho=[0.1, 0.2])
    ax = figures.paired_ratio(axes[0], swept, "sgd", arm="rule", x="rho")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [np.sqrt(0.72)] * 2)
    assert ax.get_legend_handles_labels()[1] == ["sam", "two step usam"] and ax.get_yscale() == "log"


def powers(exponent, noise=0.0):
    n = np.array([1.0, 10.0, 100.0, 1000.0])
    factors = np.exp(noise * np.random.default_rng(0).normal(size=(5, 1)))
    return xr.DataArray(3 * n**exponent * factors, dims=("seed", "n"), coords={"n": n}, name="risk")


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_loglog_shows_powers_as_lines_with_their_slope(axes, order):
    top, below = axes
    figures.loglog(top, powers(-1.5, 0.3).isel(n=order), "n", guides={"$1/n$": -1, "$n^{-3/2}$": -1.5}, local=below)
    x, y = np.log(top.lines[0].get_xydata()).T
    np.testing.assert_allclose(np.diff(y) / np.diff(x), -1.5)
    np.testing.assert_allclose(below.lines[0].get_ydata(), -1.5)
    guide = np.log(top.lines[-1].get_xydata())
    np.testing.assert_allclose(np.diff(guide, axis=0)[0, 1] / np.diff(guide, axis=0)[0, 0], -1.5)
    assert (top.get_xscale(), top.get_yscale(), below.get_xscale()) == ("log", "log", "log")
    assert "local slope against n: -1.5 [-1.5, -1.5] at 3.16228" in figures.alt_text(top.figure)


def test_exact_quantities_have_no_seeds(axes):
    both = xr.concat([powers(-1)[0], powers(-2)[0]], "rule").assign_coords(rule=["sgd", "nesterov"])
    ax = figures.loglog(axes[0], both, "n", "rule", over=None)
    assert [line.get_label() for line in ax.lines] == ["sgd", "nesterov"]
    assert "sgd: last local slope -1;" in figures.alt_text(ax.figure)


def test_images_keep_their_pixels_and_stand_apart(axes):
    images = np.random.default_rng(0).random((2, 3, 3, 8, 8))
    ax = figures.image_strip(axes[0], images, ["clean", "noise", "blur"], ["a", "b"])
    canvas = ax.images[0].get_array()
    np.testing.assert_allclose(canvas[9:17, 18:26], np.moveaxis(images[1, 2], 0, -1))
    assert (np.asarray(canvas)[:, 8] == 1).all() and (np.asarray(canvas)[8] == 1).all()
    assert "6 images in 2 rows (a, b): clean, noise, blur" in figures.alt_text(ax.figure)


def test_grey_images_missing_pixels_and_other_limits(axes):
    grey = np.array([[[0.0, 255.0], [np.nan, 51.0]]])
    canvas = np.asarray(figures.image_strip(axes[0], grey, limits=(0, 255)).images[0].get_array())
    np.testing.assert_allclose(canvas[0], [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(canvas[1, 1], 0.2)
    assert canvas[1, 0].min() < canvas[1, 0].max(), "grey would look like a value"


def test_attributions_are_white_at_zero_and_scaled_image_by_image(axes):
    maps = np.array([[[0.0, -2.0], [1.0, 2.0]], [[0.0, 1e-3], [0.0, -5e-4]]])
    canvas = np.asarray(figures.image_strip(axes[0], maps, signed=True).images[0].get_array())
    np.testing.assert_allclose(canvas[:, :2], [[[1, 1, 1], [0, 0, 1]], [[1, 0.5, 0.5], [1, 0, 0]]])
    np.testing.assert_allclose(canvas[:, 3:], [[[1, 1, 1], [1, 0, 0]], [[1, 1, 1], [0.5, 0.5, 1]]])
