"""The notebook's figures from measured arrays: each function makes a Figure with the panels of `pictures` and their labels."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from workbench.papers.personalized_collaborative import pictures


def draw_speed_ups(wga: xr.DataArray, bc: xr.DataArray, zeta: float, gains: xr.DataArray) -> Figure:
    """Speed-ups (N,) of WGA without bias and of BC at zeta beside the gains (N, delta, seed) among other curvatures."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9))
    pictures.speed_ups(left, {r"WGA, $\zeta=0$": wga, rf"BC, $\zeta={zeta:g}$": bc})
    pictures.gains_by_shift(right, gains)
    return figure


def draw_means(
    N: int, zeta: float, local: xr.DataArray, unbiased: xr.DataArray, biased: xr.DataArray, corrected: xr.DataArray
) -> Figure:
    """M(t) from (N, beta, step_size, step): local descent, WGA without bias and at zeta, BC at zeta, with N others."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    means = {
        "local": local.isel(N=0),
        r"WGA, $\zeta=0$": unbiased.sel(N=N),
        rf"WGA, $\zeta={zeta:g}$": biased.sel(N=N),
        rf"BC, $\zeta={zeta:g}$": corrected.sel(N=N),
    }
    pictures.curves(ax, means)
    return figure


def draw_digit_gaps(
    local: xr.Dataset,
    corrected: Mapping[float, xr.Dataset],
    permuted: Mapping[float, xr.Dataset],
    silent: xr.Dataset,
    averaged: Mapping[float, xr.Dataset],
) -> Figure:
    """Gaps (seed,) over local's by largest rotation: BC, BC with permuted labels, BC with silent users, WGA."""
    figure, ax = plt.subplots(figsize=(9, 4))
    gaps = {}
    for angle in corrected:
        gaps["BC", angle] = corrected[angle].gap
        gaps["BC, labels permuted", angle] = permuted[angle].gap
        gaps["BC, silent users", angle] = silent.gap
        gaps["WGA", angle] = averaged[angle].gap
    pictures.digit_gaps(ax, gaps, local.gap, list(corrected))
    return figure
