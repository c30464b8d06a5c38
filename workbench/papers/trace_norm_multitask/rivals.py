"""What the trace norm is compared with: method of moments, Burer-Monteiro, ridge, the oracle; and the refit in a subspace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from workbench import draws
from workbench.papers.trace_norm_multitask.data import MultitaskData

RIDGE_PENALTIES = 16


def error(weights: Float[Tensor, "task feature"], data: MultitaskData) -> float:
    """|W - W*|_F/sqrt(T), the normalised Frobenius distance."""
    return float((weights - data.weights).square().sum(1).mean().sqrt())


def top_subspace(weights: Float[Tensor, "task feature"], r: int) -> Float[Tensor, "feature rank"]:
    """The top r right singular vectors, as columns."""
    return torch.linalg.svd(weights, full_matrices=False)[2][:r].mT


def sine_distance(first: Float[Tensor, "feature rank"], second: Float[Tensor, "feature rank"]) -> float:
    """sqrt(1 - s_min(B^T B')^2): the sine of the largest angle between two subspaces given by orthonormal columns.

    Computed as the norm of the part of B' outside B, which keeps its digits for small angles.
    """
    outside = second - first @ (first.mT @ second)
    return float(torch.linalg.matrix_norm(outside, 2).clamp(max=1.0))


def refit(data: MultitaskData, subspace: Float[Tensor, "feature rank"]) -> Float[Tensor, "task feature"]:
    """Least squares of every task inside a subspace.

    Raises:
        ValueError: when a task has fewer samples than the subspace dimensions.
    """
    m, r = data.features.shape[1], subspace.shape[1]
    if m < r:
        raise ValueError(f"m must be >= r = {r} for a refit of every task, got {m}: it would be under-determined")
    inside = data.features @ subspace
    return torch.linalg.lstsq(inside, data.targets[..., None]).solution[..., 0] @ subspace.mT


def oracle(data: MultitaskData) -> Float[Tensor, "task feature"]:
    """Least squares in the true subspace."""
    return refit(data, data.subspace)


def oracle_risk(m: int, r: int, sigma: float, *, formula: str = "r/(m-r-1)") -> float:
    """E|w - w*|^2 = sigma^2 r/(m - r - 1) of the oracle with Gaussian features (inverse Wishart); infinite for m <= r + 1.

    `formula="r/(m-r)"` is a control, without the Wishart's correction.
    """
    rest = m - r - (formula == "r/(m-r-1)")
    return sigma**2 * r / rest if rest > 0 else float("inf")


def single(data: MultitaskData) -> Float[Tensor, "task feature"]:
    """Minimum-norm least squares of every task alone."""
    return (torch.linalg.pinv(data.features) @ data.targets[..., None])[..., 0]


def best_ridge(data: MultitaskData) -> Float[Tensor, "task feature"]:
    """Ridge regression of every task alone with one penalty, the best of 16 on the very data that is judged.

    The choice uses W*: it can only favour this rival. Penalties are geometric from 0.01 to 100 times m.
    """
    values, vectors = torch.linalg.eigh(data.features @ data.features.mT)
    rotated = (vectors.mT @ data.targets[..., None])[..., 0]
    fits = []
    for penalty in torch.logspace(-2, 2, RIDGE_PENALTIES, dtype=torch.float64) * data.features.shape[1]:
        dual = (vectors @ (rotated / (values + penalty))[..., None])[..., 0]
        fits.append(torch.einsum("tmd,tm->td", data.features, dual))
    return min(fits, key=lambda weights: error(weights, data))


def mom_subspace(data: MultitaskData, r: int) -> Float[Tensor, "feature rank"]:
    """Method of moments: the top r eigenvectors of (1/(T m)) sum y^2 x x^T."""
    inputs = data.features.flatten(0, 1)
    second = (inputs * data.targets.flatten().square()[:, None]).mT @ inputs / len(inputs)
    return torch.linalg.eigh(second)[1][:, -r:]


def burer_monteiro(
    data: MultitaskData, r: int, *, seed: int = 0, steps: Sequence[int] = (2000,)
) -> list[Float[Tensor, "task feature"]]:
    """Minimise 1/2 sum_t mean_i (y - <B a_t, x>)^2 + 1/8 |B^T B - A^T A|_F^2 by L-BFGS from N(0, 1), then refit.

    L-BFGS is SciPy's. For each of `steps`, in rising order, the refit of every task in the span of the top r right singular
    vectors of the product after so many steps, or where it stopped before. Where m is well above r it stops by itself after some
    hundred steps; near r the loss is driven towards zero by ever larger factors, and the error grows with the steps.
    """
    T, m, d = data.features.shape
    features, targets = data.features.numpy(), data.targets.numpy()
    start = np.concatenate(
        [draws.normal(seed, (T * r,), stream="left factor"), draws.normal(seed, (d * r,), stream="right factor")]
    )

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        left, right = flat[: T * r].reshape(T, r), flat[T * r :].reshape(d, r)
        residual = np.matmul(features, (left @ right.T)[..., None])[..., 0] - targets
        slope = np.matmul(residual[:, None], features)[:, 0] / m
        skew = right.T @ right - left.T @ left
        loss = 0.5 * (residual**2).sum() / m + 0.125 * (skew**2).sum()
        to_left, to_right = slope @ right - 0.5 * left @ skew, slope.T @ left + 0.5 * right @ skew
        return loss, np.concatenate([to_left.ravel(), to_right.ravel()])

    passed = []
    options = {"maxiter": steps[-1], "maxfun": 2 * steps[-1]}
    end = minimize(value, start, jac=True, method="L-BFGS-B", options=options, callback=_keep(passed, steps)).x
    fits = []
    for flat in [*passed, *[end] * (len(steps) - len(passed))]:
        left, right = flat[: T * r].reshape(T, r), flat[T * r :].reshape(d, r)
        fits.append(refit(data, top_subspace(torch.from_numpy(left @ right.T), r)))
    return fits


def _keep(passed: list[np.ndarray], steps: Sequence[int]) -> Callable[[np.ndarray], None]:
    """A callback that keeps a copy of what is reached after each of `steps`."""
    count = 0

    def after_step(flat: np.ndarray) -> None:
        nonlocal count
        count += 1
        if count in steps:
            passed.append(flat.copy())

    return after_step
