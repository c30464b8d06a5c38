"""Weak errors max_k |E G(x_k) - E G(X_{k eta})| of SDEs against the algorithm, without sampling (arXiv:2301.08203, Theorems)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from workbench.checks import require_finite, require_nonnegative, require_positive
from workbench.dynamics import second_moments
from workbench.optimizers import usam
from workbench.papers.sde_for_sam.projected_normal import projected_normal_mean, projected_normal_slope
from workbench.papers.sde_for_sam.transition import backward_kolmogorov_1d, transition_operator_1d
from workbench.problems.linear.designs import AdditiveNoise

SDES = ("own", "drift-only", "sgd")
Radius = float | Callable[[float], float]
"""rho, or rho as a function of the step size eta."""


def whole_steps(T: float, eta: float) -> int:
    """T/eta, which must be whole, so that both end at the same time."""
    require_positive("T", T)
    require_positive("eta", eta)
    steps = round(T / eta)
    if steps < 1 or abs(steps * eta - T) > 1e-9 * T:
        raise ValueError(f"T/eta must be a whole number of steps, got T = {T:g}, eta = {eta:g}: {T / eta:.6g}")
    return steps


def linear_second_moment(
    a: float | np.ndarray, variance: float | np.ndarray, x0: float, t: float | np.ndarray
) -> np.ndarray:
    """E X_t^2 of dX = -a X dt + sqrt(variance) dW from x0, for a of either sign and 0."""
    a, t = np.asarray(a, dtype=np.float64), np.asarray(t, dtype=np.float64)
    safe = np.where(a == 0, 1.0, a)
    grown = np.where(a == 0, t, -np.expm1(-2 * safe * t) / (2 * safe))
    return np.exp(-2 * a * t) * x0**2 + variance * grown


def weak_errors_quadratic(
    etas: Sequence[float],
    rho: Radius,
    *,
    eigenvalues: Sequence[float] = (0.2, 1.0, 2.5),
    x0: float = 1.5,
    sigma: float = 1.0,
    T: float = 4.0,
    rho_run: Radius | None = None,
) -> xr.DataArray:
    """Largest error of E f over the steps up to T for USAM on f = 1/2 sum l_i x_i^2: dims (sde, eta), exact to rounding.

    SDEs: USAM's own, the same without rho in the noise ("drift-only"), SGD's. rho_run: the algorithm's radius, if another
    (control). All coordinates start at x0.
    """
    require_nonnegative("sigma", sigma)
    require_finite("x0", x0)
    spectrum = np.asarray(list(eigenvalues), dtype=np.float64)
    errors = np.empty((len(SDES), len(etas)))
    for column, eta in enumerate(etas):
        steps, radius = whole_steps(T, eta), _at(rho, eta)
        rule = usam(eta, radius if rho_run is None else _at(rho_run, eta))
        exact = second_moments(rule, AdditiveNoise(spectrum, sigma**2))
        algorithm = exact.risk(np.full(spectrum.size, x0), steps, at=range(steps + 1)).values
        times = eta * np.arange(steps + 1)[:, None]
        along, noise = 1 + radius * spectrum, eta * sigma**2
        laws = ((along, along**2), (along, 1.0), (1.0, 1.0))
        for row, (drift, spread) in enumerate(laws):
            curve = 0.5 * linear_second_moment(spectrum * drift, noise * spread, x0, times) @ spectrum
            errors[row, column] = np.abs(algorithm - curve).max()
    return _labelled(errors, etas, "error of $E f$")


@dataclass(frozen=True)
class Line1D:
    """A loss on the line by its first two derivatives."""

    slope: Callable[[np.ndarray], np.ndarray]
    curvature: Callable[[np.ndarray], np.ndarray]


def wavy(amplitude: float = 0.8) -> Line1D:
    """f' = x - amplitude sin 2x."""
    require_finite("amplitude", amplitude)
    return Line1D(lambda x: x - amplitude * np.sin(2 * x), lambda x: 1 - 2 * amplitude * np.cos(2 * x))


def weak_errors_nonlinear(
    etas: Sequence[float],
    rho: Radius,
    *,
    kind: Literal["usam", "sam"] = "usam",
    loss: Line1D | None = None,
    sigma: float = 1.0,
    T: float = 2.0,
    rho_run: Radius | None = None,
    grid: float = 1.0,
) -> xr.DataArray:
    """Largest error of E x_k^2 over the steps up to T and all starts |x| < 2, on a line: dims (sde, eta), own and SGD's.

    grid: how many times finer than 801 places on [-7, 7], 40 nodes a side and 8 time steps per eta. rho_run as above.
    """
    if kind not in ("usam", "sam"):
        raise ValueError(f"kind must be usam or sam, got {kind!r}")
    require_positive("sigma", sigma)
    require_positive("grid", grid)
    f = loss or wavy()
    places = np.linspace(-7, 7, 2 * round(400 * grid) + 1)
    inside, start = np.abs(places) < 2, places**2
    errors = np.empty((2, len(etas)))
    for column, eta in enumerate(etas):
        steps, radius = whole_steps(T, eta), _at(rho, eta)
        running = radius if rho_run is None else _at(rho_run, eta)
        step = _discrete(f, kind, eta, running, sigma)
        operator = transition_operator_1d(step, lambda x: -f.slope(x) / sigma, places, round(40 * grid))
        curve, fine = start, round(8 * grid)
        discrete = [curve := operator @ curve for _ in range(steps)]
        for row, own in enumerate((True, False)):
            drift, noise = coefficients_1d(f, kind if own else "sgd", eta, radius, sigma)
            solved = backward_kolmogorov_1d(drift, noise, places, start, eta / fine, steps * fine)[fine::fine]
            errors[row, column] = np.abs(np.stack(discrete) - solved)[:, inside].max()
    return _labelled(errors, etas, "error of $E x^2$", ("own", "sgd"))


def coefficients_1d(
    f: Line1D, kind: str, eta: float, rho: float, sigma: float
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Drift and noise of the SDE on a line: -(f' + rho f'' m) and sqrt(eta) sigma (1 + rho f'' J)."""

    def mean(x: np.ndarray) -> np.ndarray:
        slope = f.slope(x)
        if kind == "sam":
            return np.sign(slope) * projected_normal_mean(np.abs(slope) / sigma, 1)
        return slope if kind == "usam" else np.zeros_like(slope)

    def spread(x: np.ndarray) -> np.ndarray:
        if kind == "sam":
            return np.asarray(projected_normal_slope(np.abs(f.slope(x)) / sigma, 1)) / sigma
        return np.full_like(x, kind == "usam")

    return (
        lambda x: -(f.slope(x) + rho * f.curvature(x) * mean(x)),
        lambda x: np.sqrt(eta) * sigma * (1 + rho * f.curvature(x) * spread(x)),
    )


def _discrete(
    f: Line1D, kind: str, eta: float, rho: float, sigma: float
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def step(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        gradient = f.slope(x) + sigma * z
        ascent = np.sign(gradient) if kind == "sam" else gradient
        return x - eta * (f.slope(x + rho * ascent) + sigma * z)

    return step


def _at(rho: Radius, eta: float) -> float:
    radius = rho(eta) if callable(rho) else rho
    require_nonnegative("rho", radius)
    return float(radius)


def _labelled(
    errors: Float[np.ndarray, "sde eta"], etas: Sequence[float], name: str, sdes: Sequence[str] = SDES
) -> xr.DataArray:
    found = xr.DataArray(errors, dims=("sde", "eta"), coords={"sde": list(sdes), "eta": list(etas)}, name="error")
    found.eta.attrs["long_name"] = r"step size $\eta$"
    return found.assign_attrs(long_name=name)
