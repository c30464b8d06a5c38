"""Two other solvers of the same regularised objective, which share nothing with the proximal one but the objective.

P(W) = 1/2 sum_t |y_t - X_t w_t|^2 + mu |W|_*,  mu = lambda m sqrt(T)/2   (arXiv:2202.06742).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from workbench import draws
from workbench.papers.trace_norm_multitask.data import MultitaskData, multitask_data
from workbench.papers.trace_norm_multitask.trace_norm import duality_gap, theory_lambda, trace_norm_fit


def objective(data: MultitaskData, weights: Float[Tensor, "task feature"], lam: float) -> float:
    """P(W)."""
    return duality_gap(data, weights, _mu(data, lam))[0]


def factorised_fit(
    data: MultitaskData, lam: float, *, rank: int | None = None, seed: int = 0, max_iter: int = 20_000
) -> Float[Tensor, "task feature"]:
    """Burer-Monteiro: min over W = A B^T of the loss + mu (|A|^2 + |B|^2)/2, by L-BFGS from N(0, 1).

    The same minimum as P where the factors have at least the rank of its minimiser (all of min(T, d) by default).
    """
    T, _, d = data.features.shape
    mu, k = _mu(data, lam), min(T, d) if rank is None else rank
    features, targets = data.features.numpy(), data.targets.numpy()
    start = draws.normal(seed, ((T + d) * k,), stream="factors").numpy()

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        left, right = flat[: T * k].reshape(T, k), flat[T * k :].reshape(d, k)
        residual = np.matmul(features, (left @ right.T)[..., None])[..., 0] - targets
        slope = np.matmul(residual[:, None], features)[:, 0]
        loss = 0.5 * (residual**2).sum() + 0.5 * mu * (flat**2).sum()
        return loss, np.concatenate([(slope @ right + mu * left).ravel(), (slope.T @ left + mu * right).ravel()])

    options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
    found = minimize(value, start, jac=True, method="L-BFGS-B", options=options).x
    return torch.from_numpy(found[: T * k].reshape(T, k) @ found[T * k :].reshape(d, k).T)


def split_fit(data: MultitaskData, lam: float, *, steps: int = 500) -> Float[Tensor, "task feature"]:
    """Reference: alternating directions (ADMM) on the loss of W plus mu |Z|_* with W = Z: ridge regressions and full SVDs.

    |W - Z|^2/2 is weighed by the number of samples a task, the size of the loss's curvature.
    """
    features, mu = data.features, _mu(data, lam)
    rho = float(features.shape[1])
    inverse = torch.linalg.inv(features.mT @ features + rho * torch.eye(features.shape[2], dtype=features.dtype))
    right = torch.einsum("tmd,tm->td", features, data.targets)
    split, price = torch.zeros_like(data.weights), torch.zeros_like(data.weights)
    for _ in range(steps):
        weights = torch.einsum("tde,te->td", inverse, right + rho * (split - price))
        u, values, v = torch.linalg.svd(weights + price, full_matrices=False)
        split = (u * (values - mu / rho).clamp_min(0)) @ v
        price = price + weights - split
    return split


def solvers(seeds: Iterable[int], *, T: int, m: int, d: int, r: int, sigma: float = 1.0, **fit: Any) -> xr.DataArray:
    """P(W) over the least of three, minus 1 (seed, solver): proximal, Burer-Monteiro and the reference on the same data.

    `fit` goes to `trace_norm_fit`.
    """
    seeds, names = list(seeds), ["proximal", "Burer-Monteiro", "reference"]
    values = np.zeros((len(seeds), len(names)))
    for i, seed in enumerate(seeds):
        data, lam = multitask_data(T, m, d, r, sigma, seed=seed), theory_lambda(T, m, d, sigma)
        found = [trace_norm_fit(data, lam, **fit).weights, factorised_fit(data, lam, seed=seed), split_fit(data, lam)]
        values[i] = [objective(data, one, lam) for one in found]
    excess = values / values.min(1, keepdims=True) - 1
    return xr.DataArray(excess, dims=("seed", "solver"), coords={"seed": seeds, "solver": names})


def _mu(data: MultitaskData, lam: float) -> float:
    T, m, _ = data.features.shape
    return lam * m * math.sqrt(T) / 2
