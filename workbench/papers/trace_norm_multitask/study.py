"""The measurements behind the claims: every method on the same data, one entry per seed, as labelled arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench.papers.trace_norm_multitask import rivals
from workbench.papers.trace_norm_multitask.data import MultitaskData, multitask_data
from workbench.papers.trace_norm_multitask.dimension import statistical_dimension
from workbench.papers.trace_norm_multitask.trace_norm import TraceNormFit, theory_lambda, trace_norm_fit

METHODS = ("trace norm", "ridge", "moments", "refit", "oracle")


def compare(
    seeds: Iterable[int],
    T: Sequence[int],
    m: Sequence[int],
    *,
    d: int,
    r: int,
    sigma: float = 1.0,
    lam_scale: float = 1.0,
    pool: int | None = None,
    tol: float = 1e-8,
    max_iter: int = 2000,
    **law: object,
) -> xr.Dataset:
    """All methods on one data set per (seed, m, tasks).

    Args:
        seeds: one data set each; the tasks of a smaller number are the first ones of the same draw law, not the same numbers.
        T, m: tasks T and samples a task.
        d, r, sigma: dimension, rank, noise.
        lam_scale: lambda as a multiple of `theory_lambda`.
        pool: fit groups of this many tasks apart (a control: more tasks, nothing more to share); divides every T.
        tol, max_iter: of `trace_norm_fit`.
        law: features, subspace and independent of `multitask_data`.

    Returns:
        error(seed, m, tasks, estimator) = |W - W*|_F/sqrt(T); sine(seed, m, tasks, estimate) to the true subspace;
        gap(seed, m, tasks), the largest relative duality gap; rank of the estimate; bound, the scale
        sigma sqrt(r (1/m + d^2/(T m^2))) of the theorem.
    """
    seeds = list(seeds)
    shape = (len(seeds), len(m), len(T))
    error, sine = np.full((*shape, len(METHODS)), np.nan), np.full((*shape, 2), np.nan)
    gap, rank = np.zeros(shape), np.zeros(shape, dtype=int)
    for place in np.ndindex(*shape):
        seed, samples, tasks = seeds[place[0]], m[place[1]], T[place[2]]
        data = multitask_data(tasks, samples, d, r, sigma, seed=seed, **law)  # type: ignore[arg-type]
        parts = [data.part(slice(a, a + (pool or tasks))) for a in range(0, tasks, pool or tasks)]
        fits = [_fit(part, lam_scale, tol, max_iter) for part in parts]
        weights = torch.cat([fit.weights for fit in fits])
        learned, moments = rivals.top_subspace(weights, r), rivals.mom_subspace(data, r)
        found = {
            "trace norm": weights,
            "ridge": rivals.best_ridge(data),
            "moments": rivals.refit(data, moments),
            "refit": rivals.refit(data, learned),
            "oracle": rivals.oracle(data),
        }
        for name, one in found.items():
            error[(*place, METHODS.index(name))] = rivals.error(one, data)
        sine[place] = [rivals.sine_distance(data.subspace, one) for one in (learned, moments)]
        gap[place], rank[place] = max(fit.gap for fit in fits), fits[0].rank
    sizes, samples = np.array(T, dtype=float), np.array(m, dtype=float)[:, None]
    bound = sigma * np.sqrt(r * (1 / samples + d * d / (sizes * samples**2)))
    whole = ("seed", "m", "tasks")
    result = xr.Dataset(
        {
            "error": ((*whole, "estimator"), error, {"long_name": "error $|W-W^*|_F/\\sqrt{T}$"}),
            "sine": ((*whole, "estimate"), sine, {"long_name": "sine distance to the true subspace"}),
            "gap": (whole, gap, {"long_name": "relative duality gap"}),
            "rank": (whole, rank, {"long_name": "rank of the estimate"}),
            "bound": (whole[1:], bound, {"long_name": "scale of the bound"}),
        },
        coords={"seed": seeds, "m": list(m), "tasks": list(T), "estimator": list(METHODS)},
    )
    result.tasks.attrs["long_name"] = "number of tasks $T$"
    return result.assign_coords(estimate=["trace norm", "moments"])


def factorised(
    seeds: Iterable[int],
    m: Sequence[int],
    *,
    T: int,
    d: int,
    r: int,
    sigma: float = 1.0,
    steps: Sequence[int] = (2000,),
    tol: float = 1e-8,
) -> xr.Dataset:
    """error(seed, m, steps) of Burer-Monteiro after at most so many steps of L-BFGS, and trace_norm(seed, m) on the same data."""
    seeds = list(seeds)
    error, convex = np.zeros((len(seeds), len(m), len(steps))), np.zeros((len(seeds), len(m)))
    for i, j in np.ndindex(len(seeds), len(m)):
        data = multitask_data(T, m[j], d, r, sigma, seed=seeds[i])
        fits = rivals.burer_monteiro(data, r, seed=seeds[i], steps=steps)
        error[i, j] = [rivals.error(fit, data) for fit in fits]
        convex[i, j] = rivals.error(_fit(data, 1.0, tol, 2000).weights, data)
    name = {"long_name": "error $|W-W^*|_F/\\sqrt{T}$"}
    return xr.Dataset(
        {"error": (("seed", "m", "steps"), error, name), "trace_norm": (("seed", "m"), convex, name)},
        coords={"seed": seeds, "m": list(m), "steps": list(steps)},
    )


def along_sizes(
    seeds: Iterable[int], *, T: int, m: int, d: int, r: int, m_list: Sequence[int], r_list: Sequence[int], **fit: Any
) -> dict[str, xr.Dataset]:
    """`compare` along the samples a task (at rank r) and along the rank (at m samples), each with its size as the dimension."""
    seeds = list(seeds)
    samples = compare(seeds, [T], m_list, d=d, r=r, **fit).isel(tasks=0)
    ranks = [compare(seeds, [T], [m], d=d, r=one, **fit).isel(tasks=0, m=0, drop=True) for one in r_list]
    return {"m": samples, "r": xr.concat(ranks, "r").assign_coords(r=list(r_list))}


def _fit(
    data: MultitaskData, scale: float, tol: float, max_iter: int, start: torch.Tensor | None = None
) -> TraceNormFit:
    T, m, d = data.features.shape
    lam = scale * theory_lambda(T, m, d, data.sigma)
    return trace_norm_fit(data, lam, tol=tol, max_iter=max_iter, start=start)


def along_lambda(
    seeds: Iterable[int],
    scales: Sequence[float],
    m: Sequence[int],
    *,
    T: int,
    d: int,
    r: int,
    sigma: float = 1.0,
    tol: float = 1e-8,
    max_iter: int = 2000,
    **law: object,
) -> xr.Dataset:
    """error, gap and rank (seed, m, scale) of the estimate at multiples of the theory's lambda, warm-started from above."""
    seeds = list(seeds)
    shape = (len(seeds), len(m), len(scales))
    error, gap, rank = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=int)
    for i, seed in enumerate(seeds):
        for j, samples in enumerate(m):
            data, start = multitask_data(T, samples, d, r, sigma, seed=seed, **law), None  # type: ignore[arg-type]
            for k in np.argsort(scales)[::-1]:
                fit = _fit(data, scales[k], tol, max_iter, start)
                start = fit.weights
                error[i, j, k], gap[i, j, k], rank[i, j, k] = rivals.error(fit.weights, data), fit.gap, fit.rank
    dims = ("seed", "m", "scale")
    return xr.Dataset(
        {
            "error": (dims, error, {"long_name": "error $|W-W^*|_F/\\sqrt{T}$"}),
            "gap": (dims, gap, {"long_name": "relative duality gap"}),
            "rank": (dims, rank, {"long_name": "rank of the estimate"}),
        },
        coords={"seed": seeds, "m": list(m), "scale": list(scales)},
    )


def along_noise(
    seeds: Iterable[int],
    sigmas: Sequence[float],
    m: Sequence[int],
    *,
    T: int,
    d: int,
    r: int,
    data_r: int | None = None,
    tol: float = 1e-8,
    max_iter: int = 20_000,
) -> xr.Dataset:
    """error and gap (seed, m, sigma) on the same features and coefficients at every noise level; and delta/T of rank r.

    `data_r` gives the data another rank (a control).
    """
    seeds = list(seeds)
    shape = (len(seeds), len(m), len(sigmas))
    error, gap = np.zeros(shape), np.zeros(shape)
    for i, j, k in np.ndindex(*shape):
        data = multitask_data(T, m[j], d, data_r or r, sigmas[k], seed=seeds[i])
        fit = _fit(data, 1.0, tol, max_iter)
        error[i, j, k], gap[i, j, k] = rivals.error(fit.weights, data), fit.gap
    dims = ("seed", "m", "sigma")
    return xr.Dataset(
        {
            "error": (dims, error, {"long_name": "error $|W-W^*|_F/\\sqrt{T}$"}),
            "gap": (dims, gap, {"long_name": "relative duality gap"}),
            "threshold": (
                (),
                statistical_dimension(d, T, r) / T,
                {"long_name": "recovery threshold $\\delta/T$"},
            ),
        },
        coords={"seed": seeds, "m": list(m), "sigma": list(sigmas)},
    )


def around_threshold(d: int, T: int, r: int) -> list[int]:
    """Two samples below and three above the recovery threshold: ceil(delta/T) - 2 and ceil(delta/T) + 3."""
    threshold = math.ceil(statistical_dimension(d, T, r) / T)
    return [threshold - 2, threshold + 3]


def recovered(noise: xr.Dataset, r: int) -> xr.DataArray:
    """Whether error/sqrt(r) is below sqrt(sigma), the geometric middle of sigma (recovered) and 1 (not)."""
    return noise.error / math.sqrt(r) < np.sqrt(noise.sigma)


def recovery_map(
    seeds: Iterable[int], T: Sequence[int], m: Sequence[int], *, d: int, r: int, sigma: float = 0.01, tol: float = 1e-8
) -> xr.Dataset:
    """share(tasks, m) of data sets recovered, and threshold(tasks) = delta/T."""
    seeds = list(seeds)
    rows = [along_noise(seeds, [sigma], m, T=one, d=d, r=r, tol=tol) for one in T]
    share = [recovered(row, r).isel(sigma=0).mean("seed").values for row in rows]
    return xr.Dataset(
        {"share": (("tasks", "m"), np.array(share)), "threshold": ("tasks", [float(row.threshold) for row in rows])},
        coords={"tasks": list(T), "m": list(m)},
    )


def transfer(
    seeds: Iterable[int],
    T: Sequence[int],
    *,
    d: int,
    r: int,
    m: int = 8,
    m_new: int = 12,
    n_new: int = 500,
    sigma: float = 1.0,
    new_subspace: bool = False,
    tol: float = 1e-8,
    max_iter: int = 2000,
) -> xr.Dataset:
    """error(seed, tasks, estimator) on n_new new tasks of m_new samples: refit in the learned subspace, ridge alone, oracle.

    `new_subspace` draws the new tasks in another subspace (a control: nothing learned can help).
    """
    seeds = list(seeds)
    error, gap = np.zeros((len(seeds), len(T), 3)), np.zeros((len(seeds), len(T)))
    for i, seed in enumerate(seeds):
        for j, tasks in enumerate(T):
            old = multitask_data(tasks, m, d, r, sigma, seed=seed)
            basis = None if new_subspace else old.subspace
            new = multitask_data(n_new, m_new, d, r, sigma, seed=_apart(seed), basis=basis)
            fit = _fit(old, 1.0, tol, max_iter)
            learned = rivals.refit(new, rivals.top_subspace(fit.weights, r))
            error[i, j] = [rivals.error(one, new) for one in (learned, rivals.best_ridge(new), rivals.oracle(new))]
            gap[i, j] = fit.gap
    return xr.Dataset(
        {
            "error": (("seed", "tasks", "estimator"), error, {"long_name": "error on new tasks"}),
            "gap": (("seed", "tasks"), gap, {"long_name": "relative duality gap"}),
        },
        coords={"seed": seeds, "tasks": list(T), "estimator": ["learned subspace", "ridge", "oracle"]},
    )


def moments_and_kurtosis(
    seeds: Iterable[int], *, d: int, r: int, m: int, many: int, few: int, subspace: str = "axis", sigma: float = 1.0
) -> xr.Dataset:
    """Sine distances (seed): moments at `many` tasks with Rademacher and with normal features, and both methods at `few`."""
    seeds = list(seeds)
    rows = {name: np.zeros(len(seeds)) for name in ("rademacher", "normal", "trace norm", "moments")}
    for i, seed in enumerate(seeds):
        for law in ("rademacher", "normal"):
            data = multitask_data(many, m, d, r, sigma, features=law, subspace=subspace, seed=seed)
            rows[law][i] = rivals.sine_distance(data.subspace, rivals.mom_subspace(data, r))
        data = multitask_data(few, m, d, r, sigma, features="rademacher", subspace=subspace, seed=seed)
        rows["moments"][i] = rivals.sine_distance(data.subspace, rivals.mom_subspace(data, r))
        learned = rivals.top_subspace(_fit(data, 1.0, 1e-8, 2000).weights, r)
        rows["trace norm"][i] = rivals.sine_distance(data.subspace, learned)
    return xr.Dataset({name: ("seed", values) for name, values in rows.items()}, coords={"seed": seeds})


def oracle_risks(
    seeds: Iterable[int], *, m: int, r: int, d: int = 10, T: int = 2000, sigma: float = 1.0
) -> xr.DataArray:
    """Mean squared error of the oracle over many tasks, one number per seed (law: `rivals.oracle_risk`)."""
    values = []
    for seed in seeds:
        data = multitask_data(T, m, d, r, sigma, seed=seed)
        values.append(rivals.error(rivals.oracle(data), data) ** 2)
    return xr.DataArray(values, dims="seed", name="squared error")


def _apart(seed: int) -> int:
    # New tasks of a seed come from a range of seeds of their own.
    return seed + 10_000_000
