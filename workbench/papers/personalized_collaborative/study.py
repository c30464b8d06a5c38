"""The measurements of the notebook as labelled arrays: exact curves, speed-ups, weights, the bias recursion, the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float

from workbench.dynamics.times import time_to_reach
from workbench.papers.personalized_collaborative import theory
from workbench.papers.personalized_collaborative.quadratic_users import (
    Mode,
    collab_moments,
    direction,
    even_start,
    full_weight,
    hard_spectrum,
    hessian_shift,
    momentum_of_the_bias,
)

Coordinates = Float[np.ndarray, " coordinate"]
Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True, eq=False)
class Model:
    """Model Q: curvatures h, start x0, direction of the bias, the variances; L = 1, F_0 = 1."""

    h: Coordinates
    x0: Coordinates
    bias: Coordinates
    sigma0: float = 1.0
    sigma: float = 1.0

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return len(self.h)

    def moments(
        self, N: np.ndarray, eta, T: int, *, zeta=0.0, alpha=None, beta=0.0, K0=0, mode: Mode = "bc", shift=0.0, **more
    ):
        """`collab_moments` with this model's constants; alpha = N/(N + 1) unless given."""
        weight = full_weight(N) if alpha is None else alpha
        return collab_moments(
            self.h, zeta * self.bias, shift, self.x0, eta, weight, beta, self.sigma0**2 / self.d,
            self.sigma**2 / (self.d * N), T, K0, mode, **more,
        )  # fmt: skip


def model_q(d: int = 20, spectrum: str = "log4", seed: int = 0, sigma0: float = 1.0, sigma: float = 1.0) -> Model:
    """Model Q: spectrum "log4" is d curvatures from 1 to 1e-4, "flat" has all equal to 1; the seed draws the bias's direction."""
    if spectrum not in ("log4", "flat"):
        raise ValueError(f"spectrum must be log4 or flat, got {spectrum!r}")
    h = hard_spectrum(d, 4.0 if spectrum == "log4" else 0.0)
    return Model(h, even_start(h), direction(seed, d), sigma0, sigma)


def mean_gradients(
    model: Model,
    N_list: Sequence[int],
    eta_grid: Numbers,
    T: int,
    *,
    beta: Numbers = (0.0,),
    **settings,
) -> xr.DataArray:
    """M(t) = (1/(t + 1)) sum_{s <= t} E|grad f_0(x_s)|^2 at every N, beta and step size: dims (N, beta, step_size, step)."""
    N, rate, eta = (grid.ravel() for grid in np.meshgrid(N_list, beta, eta_grid, indexing="ij"))
    found = model.moments(N.astype(float), eta, T, beta=rate, **settings).gradient
    means = (found.cumsum("step") / (found.step + 1)).values
    return xr.DataArray(
        means.reshape(len(N_list), len(beta), len(eta_grid), T + 1),
        dims=("N", "beta", "step_size", "step"),
        coords={"N": list(N_list), "beta": list(beta), "step_size": list(eta_grid), "step": np.arange(T + 1)},
        attrs={"long_name": "mean squared gradient norm"},
    )


def tuned(means: xr.DataArray, T: int | None = None) -> xr.DataArray:
    """M(T) at the best step size and beta; the coordinate `edge` says whether the best step size is at an end of its grid."""
    last = means.isel(step=-1) if T is None else means.sel(step=T)
    best = last.min(["step_size", "beta"])
    at = last.min("beta").argmin("step_size")
    return best.assign_coords(edge=(at == 0) | (at == means.sizes["step_size"] - 1))


def speed_up(means: xr.DataArray, level: float, T: int, K0: int = 0) -> xr.DataArray:
    """T over the steps after which the best step size has M <= level, K0 gradients at the start counted; 0 if it never has.

    The coordinate `fastest` is that step size.
    """
    reached = time_to_reach(means.isel(beta=0, drop=True), level)
    fastest = means.step_size.values[reached.argmin("step_size").values]
    ratio = (T / (reached.min("step_size") + K0)).assign_attrs(long_name="speed-up over local")
    return ratio.assign_coords(fastest=("N", fastest))


def local_exponents(values: xr.DataArray) -> xr.DataArray:
    """Exponent in N + 1 between neighbouring N, at the larger one; NaN where a value is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values.values)
        rise = np.diff(logs) / np.diff(np.log(values.N.values + 1.0))
    return xr.DataArray(np.where(np.isfinite(rise), rise, np.nan), dims="N", coords={"N": values.N.values[1:]})


def stationary_ratio(N_list: Sequence[int], eta: float = 0.1, zeta: float = 0.0) -> xr.DataArray:
    """Stationary risk of averaging over that of local descent, times N + 1, on f_0 = x^2/2, by the recursion."""
    N, one, T = np.array(N_list, dtype=float), np.ones(1), math.ceil(60 / eta)
    averaged = collab_moments(one, zeta * one, 0.0, 0 * one, eta, full_weight(N), 0.0, 1.0, 1 / N, T, mode="wga")
    local = collab_moments(one, zeta * one, 0.0, 0 * one, eta, 0.0, 0.0, 1.0, 1.0, T, mode="local")
    ratio = averaged.gap.isel(step=-1).values / float(local.gap.isel(step=-1).item()) * (N + 1)
    return xr.DataArray(ratio, dims="N", coords={"N": list(N_list)})


def best_weights(
    cases: Sequence[tuple[float, float, int]], points: int = 2001, *, ignore_bias: bool = False
) -> xr.Dataset:
    """Weight of least risk after 40/eta steps among `points`, and alpha* of the formula, at each (zeta, eta, N): dims (case,).

    `settled` is the relative change of the least risk over the second half. `ignore_bias` takes the formula at zeta = 0.
    """
    one, alphas = np.ones(1), np.linspace(0, 1, points)
    found, settled = [], []
    for zeta, eta, N in cases:
        T = 2 * math.ceil(20 / eta)
        gap = collab_moments(one, zeta * one, 0.0, 0 * one, eta, alphas, 0.0, 1.0, 1 / N, T, mode="wga").gap
        least = int(gap.isel(step=-1).argmin("setting"))
        found.append(alphas[least])
        settled.append(abs(float(gap[least, T // 2] - gap[least, T])))
    formula = [theory.best_weight(0.0 if ignore_bias else zeta, eta, N) for zeta, eta, N in cases]
    names = [f"zeta = {zeta:g}, eta = {eta:g}, N = {N}" for zeta, eta, N in cases]
    return xr.Dataset(
        {"found": ("case", found), "formula": ("case", formula), "settled": ("case", settled)}, coords={"case": names}
    )


def relative_gains(
    model: Model, N_list: Sequence[int], T_list: Sequence[int], *, zeta: float = 1.0, K0: int = 32, mode: Mode = "bc"
) -> xr.DataArray:
    """Gain M_local/M over sqrt(N + 1), the rate's own scale, after each T: dims (N, T). Step sizes scale as in the theorem."""
    gains = np.empty((len(N_list), len(T_list)))
    for j, T in enumerate(T_list):
        scale = math.sqrt(2000 / T)
        local = mean_gradients(model, [1], np.minimum(np.geomspace(0.02, 0.6, 9) * scale, 1.0), T, mode="local")
        level = float(tuned(local).item())
        for i, N in enumerate(N_list):
            grid = np.unique(np.minimum(np.geomspace(0.02, 0.9, 9) * scale * (N + 1) ** 0.4, 1.0))
            means = mean_gradients(model, [N], grid, T, zeta=zeta, K0=K0, mode=mode)
            gains[i, j] = level / float(tuned(means).item()) / math.sqrt(N + 1)
    return xr.DataArray(gains, dims=("N", "T"), coords={"N": list(N_list), "T": list(T_list)})


def shifted_gains(
    model: Model, seeds: Sequence[int], deltas: Sequence[float], *, N_list: Sequence[int] = (15, 255), T: int = 1000,
    zeta: float = 1.0, K0: int = 32, eta_grid: Sequence[float] = (), betas: Sequence[float] = (),
) -> xr.DataArray:  # fmt: skip
    """Gain of bias correction over local descent when the others' curvature differs by up to delta: dims (seed, delta, N).

    A seed draws the signs of the shift and the direction of the bias; every gain takes the best of the step sizes and betas.
    """
    etas = list(eta_grid) or np.geomspace(0.07, 0.9, 8)
    rates = list(betas) or np.geomspace(5e-4, 0.3, 4)
    level = float(tuned(mean_gradients(model, [1], np.geomspace(4e-3, 0.9, 16), T, mode="local")).item())
    gains = np.empty((len(seeds), len(deltas), len(N_list)))
    for i, seed in enumerate(seeds):
        own = replace(model, bias=direction(seed, model.d))
        for j, delta in enumerate(deltas):
            shift = hessian_shift(seed, model.h, delta)
            means = mean_gradients(own, N_list, etas, T, beta=rates, zeta=zeta, K0=K0, shift=shift)
            gains[i, j] = level / tuned(means).values
    return xr.DataArray(
        gains, dims=("seed", "delta", "N"), coords={"seed": list(seeds), "delta": list(deltas), "N": list(N_list)},
        attrs={"long_name": "gain over local descent"},
    )  # fmt: skip


def bias_recursion(
    model: Model, deltas: Sequence[float], seed: int, *, T: int = 1000, K0: int = 32, N_list: Sequence[int] = (1, 7, 63),
    etas: Sequence[float] = (0.02, 0.5), betas: Sequence[float] = (0.001, 0.1), zetas: Sequence[float] = (0.0, 1.0),
    drop_shift: bool = False,
) -> xr.Dataset:  # fmt: skip
    """Largest ratios of the bias error to its bounds over N, step sizes, betas and zeta, for each delta: dims (delta,).

    `step`: u_{t+1}^2 over the right side of (R), every t. `forward`: mean of u^2 over the mean of (R) solved forward. `small`:
    mean of u^2 over the bound without the gradient's part. `drop_shift` takes delta = 0 on the right sides.
    """
    N, eta, beta = (grid.ravel() for grid in np.meshgrid(N_list, etas, betas, indexing="ij"))
    alpha, sigma_b = full_weight(N), np.sqrt(theory.difference_variance(model.sigma0, model.sigma, N))
    sigma_alpha = np.sqrt(theory.mixed_variance(alpha, model.sigma0, model.sigma, N))
    rates = np.stack([momentum_of_the_bias(beta, K0, t) for t in range(T + 1)])
    worst = np.zeros((3, len(deltas)))
    for j, delta in enumerate(deltas):
        shift = hessian_shift(seed, model.h, delta)
        lipschitz = 0.0 if drop_shift else float(np.abs(shift).max())
        constants = {"eta": eta, "alpha": alpha, "delta": lipschitz, "sigma_alpha": sigma_alpha, "sigma_b": sigma_b}
        for zeta in zetas:
            found = model.moments(N.astype(float), eta, T, zeta=zeta, beta=beta, K0=K0, shift=shift, bias_error=True)
            u2, G = found.bias_error.values.T, np.sqrt(found.gradient.values.T)
            right = theory.next_bias_error(np.sqrt(u2[:-1]), G[:-1], beta=rates[:-1], **constants)
            solved = theory.solved_bias_error(np.sqrt(u2[0]), G, rates, **constants)
            small = theory.small_shift_bound(
                np.sqrt(u2[0]), T, eta, np.maximum(beta, 1 / T), lipschitz, sigma_alpha, sigma_b
            )
            ratios = (u2[1:] / right).max(), (u2.mean(0) / solved.mean(0)).max(), (u2.mean(0) / small).max()
            worst[:, j] = np.maximum(worst[:, j], ratios)
    names = ("step", "forward", "small")
    return xr.Dataset(
        {name: ("delta", row) for name, row in zip(names, worst, strict=True)}, coords={"delta": list(deltas)}
    )


def over_the_limit(
    N_list: Sequence[int], zetas: Sequence[float], *, K0: int = 32, T: int = 1000, x0: float = 3.0, mode: Mode = "bc",
    bias: float | None = None,
) -> xr.DataArray:  # fmt: skip
    """Least E f_0(x_T) - f_0* over step sizes and betas, over the limit of any linear method: dims (N, zeta), d = 1, h = 1.

    `bias` replaces zeta in the run (not in the limit): users who really have another bias.
    """
    one, etas = np.ones(1), np.geomspace(0.002, 0.9, 30)
    betas = np.array([0.0]) if mode == "wga" else np.concatenate([[0.0], np.geomspace(5e-4, 0.3, 10)])
    eta, beta, N = (grid.ravel() for grid in np.meshgrid(etas, betas, N_list, indexing="ij"))
    ratios = np.empty((len(N_list), len(zetas)))
    for j, zeta in enumerate(zetas):
        true = zeta if bias is None else bias
        gap = collab_moments(
            one, true * one, 0.0, x0 * one, eta, full_weight(N), beta, 1.0, 1.0 / N, T, K0 if mode == "bc" else 0, mode
        ).gap.values[:, -1]  # fmt: skip
        for i, users in enumerate(N_list):
            ratios[i, j] = gap[users == N].min() / theory.least_gap(1.0, x0, T, zeta, K0 if mode == "bc" else 0)
    return xr.DataArray(ratios, dims=("N", "zeta"), coords={"N": list(N_list), "zeta": list(zetas)})
