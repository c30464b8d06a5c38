"""What the notebook measures, under its parameters and control switches (arXiv:2301.08203)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from workbench.dynamics.times import local_slopes
from workbench.papers.sde_for_sam.equations import Kind
from workbench.papers.sde_for_sam.saddles import SPECTRA, basin_runs, usam_map
from workbench.papers.sde_for_sam.stationary import chain_variances, discrete_variance
from workbench.papers.sde_for_sam.weak_order import Radius, weak_errors_nonlinear

NAMES = {"sgd": "SGD", "usam": "USAM", "dnsam": "DNSAM", "sam": "SAM"}
LEAVING: tuple[tuple[Kind, float], ...] = (("sgd", 0.0), ("usam", 0.3), ("sam", 0.1))
STAYING: tuple[tuple[Kind, float], ...] = (("dnsam", 0.5), ("usam", 1.5), ("sam", 0.5))


def last_slope(values: xr.DataArray, along: str) -> xr.DataArray:
    """Local log-log slope between the two smallest places: a fit over a range would mix in coarse ones."""
    return local_slopes(values.sortby(along), along).isel({along: 0}, drop=True)


def guarded_errors(etas: Sequence[float], rho: Radius, kind: str, *, rho_run: Radius | None = None) -> xr.DataArray:
    """Weak errors on the nonlinear loss; all NaN where a 1.5 times finer grid changes one by more than 1 %."""
    grids = [weak_errors_nonlinear(etas, rho, kind=kind, rho_run=rho_run, grid=grid) for grid in (1.0, 1.5)]  # type: ignore[arg-type]
    change = float(abs(grids[1] / grids[0] - 1).max())
    return grids[0].where(change <= 0.01).assign_attrs(grids[0].attrs, grid_change=change)


def variance_samples(
    kind: str, seeds: Sequence[int], dims: Sequence[int], steps: int, rho_run: float = 1.0, **setting: float
) -> tuple[xr.DataArray, xr.DataArray]:
    """Variances of chains, and over the formula of their dimension: dims (d, seed). setting: eigenvalue, rho, sigma, eta."""
    running = {**setting, "rho": setting["rho"] * rho_run}
    found = chain_variances(kind, seeds, dims, steps=steps, **running)  # type: ignore[arg-type]
    exact = [discrete_variance(kind, d=d, **setting) for d in dims]  # type: ignore[arg-type]
    return found, found / xr.DataArray(exact, dims="d", coords={"d": found.d})


def threshold_map(kind: Kind = "usam") -> xr.Dataset:
    """`usam_map` on 29 eigenvalues from -3 to -.2 and 120 radii from .05 to 6, eta = .05."""
    return usam_map(np.linspace(-3, -0.2, 29).tolist(), np.linspace(0.05, 6, 120).tolist(), kind=kind)


def basins(seeds: Sequence[int], rho: float, eta: float, kind: Kind = "sam", steps: int = 6000) -> xr.DataArray:
    """`basin_runs` of the four spectra: dims (spectrum, seed)."""
    names = [", ".join(f"{value:g}" for value in spectrum) for spectrum in SPECTRA]
    runs = [basin_runs(spectrum, seeds, rho=rho, eta=eta, kind=kind, steps=steps) for spectrum in SPECTRA]
    return xr.concat(runs, xr.DataArray(names, dims="spectrum", name="spectrum"))


def embedded_arms(switch: str = "own", rho_run: float = 1.0) -> dict[str, tuple[Kind, float]]:
    """What runs under each arm's name on the embedded saddle.

    switch "swapped": USAM at SAM's .5; "exchanged": those that leave under the names of those that stay, and back (controls).
    rho_run multiplies all radii.
    """
    if switch not in ("own", "swapped", "exchanged"):
        raise ValueError(f"embedded_arms must be own, swapped or exchanged, got {switch!r}")
    running = {_name(arm): arm for arm in (*LEAVING, *STAYING)}
    if switch == "swapped":
        running["SAM 0.5"] = ("usam", 0.5)
    if switch == "exchanged":
        for leaving, staying in zip(LEAVING, STAYING, strict=True):
            running |= {_name(leaving): staying, _name(staying): leaving}
    return {name: (kind, rho * rho_run) for name, (kind, rho) in running.items()}


def _name(arm: tuple[Kind, float]) -> str:
    return NAMES[arm[0]] if arm[0] == "sgd" else f"{NAMES[arm[0]]} {arm[1]:g}"
