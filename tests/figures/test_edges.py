"""The figure of sharpness against the edge: what is drawn, and its words."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from workbench.figures import alt_text, edge_of_stability


def data(values, threshold=None, name="sharpness"):
    steps = {"step": np.arange(len(values))}
    variables = {name: ("step", values), f"{name}_residual": ("step", np.full(len(values), 0.1))}
    if threshold is not None:
        variables[f"{name}_threshold"] = ("step", np.full(len(values), threshold))
    return xr.Dataset(variables, coords=steps)


def test_lines_and_words():
    figure, ax = plt.subplots()
    edge_of_stability(ax, data(np.array([1.0, 2, 3, 4, 5, 4, 4, 4]), 4.5))
    assert [line.get_ydata()[-1] for line in ax.lines] == [4, 4.5]
    words = alt_text(figure)
    assert "from 1 to 4 in 7 steps" in words and "first above it at step 4" in words and "at 0.89 of it" in words
    assert ax.get_yscale() == "linear"
    plt.close(figure)


def test_a_spike_of_the_first_steps_makes_the_axis_logarithmic():
    figure, ax = plt.subplots()
    edge_of_stability(ax, data(np.array([1e5, 10.0, 10, 10, 12]), 38.0))
    assert ax.get_yscale() == "log"
    plt.close(figure)


def test_refusals():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="0 eigenvalues with a threshold"):
        edge_of_stability(ax, data(np.ones(3)))
    with pytest.raises(ValueError, match="no variable 'top'"):
        edge_of_stability(ax, data(np.ones(3)), "top")
    with pytest.raises(ValueError, match="select one run"):
        edge_of_stability(ax, data(np.ones(3), 2.0).expand_dims(seed=[0, 1]))
    plt.close("all")
