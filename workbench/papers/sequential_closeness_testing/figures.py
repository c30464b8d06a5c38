"""The notebook's figures of two panels: each function makes a Figure from measured arrays with the panels of `pictures`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from workbench.papers.sequential_closeness_testing import pictures


def draw_factor_four(table: xr.Dataset, eps: float, slopes: xr.Dataset, two_looks: xr.Dataset) -> Figure:
    """`pictures.savings` at eps from (rule, eps, delta, hypothesis), `pictures.slopes` from (digits, hypothesis)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    pictures.savings(left, table, eps)
    pictures.slopes(right, slopes, two_looks)
    return figure


def draw_distances(sizes: xr.DataArray, eps: float, batch: int, paths: xr.DataArray, delta: float, c: float) -> Figure:
    """Costs (rule, d) by true distance beside paths of Z (d, run, check), whose distances are 0 and another, with u_t."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    pictures.costs(left, sizes, eps, batch)
    equal, apart = paths.values
    n, d, last = int(paths.n), float(paths.d[1]), int(paths.check[-1])
    pictures.z_paths_picture(right, equal, apart, n, d, delta, c, last)
    return figure


def draw_crossings(by_n: xr.DataArray, by_d: xr.DataArray, taus_n: xr.DataArray, taus_d: xr.DataArray) -> Figure:
    """Crossing times (c, n) and (n, d) with simulated stopping times (n, run) and (d, run); d and c fixed are in the titles."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9))
    pictures.crossings(left, by_n.drop_vars("d"), "n", "c", {"$n^{2/3}$": 2 / 3}, taus_n)
    pictures.crossings(right, by_d.drop_vars("c"), "d", "n", {"$d^{-2}$": -2, "$d^{-4/3}$": -4 / 3}, taus_d)
    left.set(title=f"crossing time, $d={float(by_n.d):g}$", ylabel="$t^*$")
    right.set(title=f"crossing time, $c={float(by_d.c):g}$", ylabel="$t^*$")
    return figure


def draw_many_letters(alarms: xr.DataArray, constants: Mapping[str, float], delta: float, far: xr.Dataset) -> Figure:
    """False alarms (c, distribution, run) of the named constants beside what a known eps saves (d, run)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    pictures.false_alarms(left, alarms, constants, delta)
    pictures.known_distance(right, far)
    return figure
