"""The trace-norm estimator with a certificate: FISTA, at little noise with a start from factors, and at the end a duality gap.

min_W (1/(T m)) sum_t |y_t - X_t w_t|^2 + (lambda/sqrt T) |W|_*   (arXiv:2202.06742), solved as
P(W) = 1/2 sum_t |y_t - X_t w_t|^2 + mu |W|_*,  mu = lambda m sqrt(T)/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from workbench.checks import require_count, require_nonnegative
from workbench.papers.trace_norm_multitask.data import MultitaskData

CHECK_EVERY = 10
"""Iterations between two looks at the duality gap, which costs half an iteration."""
GROWTH = 1.02
"""Of the proximal step an iteration; a step that turns out too long for the move it makes is taken again."""
LITTLE_NOISE = 0.1
"""Up to this sigma FISTA alone takes thousands of steps: the penalty is small, and most directions of W are seen by it alone."""


@dataclass(frozen=True, eq=False)
class TraceNormFit:
    """A minimiser with its certificate.

    Attributes:
        weights: W.
        gap: relative duality gap (P(W) - D)/P(W) >= (P(W) - min P)/P(W): a proof of how far the objective is from its minimum.
        iterations: proximal steps taken.
        rank: singular values of W above 1e-8 of the largest.
    """

    weights: Float[Tensor, "task feature"]
    gap: float
    iterations: int

    @property
    def rank(self) -> int:
        values = torch.linalg.svdvals(self.weights)
        return int((values > 1e-8 * values.max()).sum())


def theory_lambda(T: int, m: int, d: int, sigma: float) -> float:
    """lambda = sigma sqrt(T + d^2/m)/sqrt(T m), the value of the authors' public code.

    With mu = lambda m sqrt(T)/2 the noise gradient sum_t e_t xi_t^T X_t, of norm about sigma sqrt(m)(sqrt T + sqrt d), is
    matched up to a constant.

    Raises:
        ValueError: for sizes below 1 or a negative sigma.
    """
    for name, value in (("T", T), ("m", m), ("d", d)):
        require_count(name, value, 1)
    require_nonnegative("sigma", sigma)
    return sigma * math.sqrt(T + d * d / m) / (math.sqrt(T) * math.sqrt(m))


def svt(weights: Float[Tensor, "task feature"], threshold: float) -> tuple[Float[Tensor, "task feature"], float]:
    """Proximal map of threshold |.|_*: singular values are moved towards 0 by `threshold`; also the trace norm of the result.

    Through the eigenvalues of the smaller Gram matrix: singular values below about 1e-8 of the largest lose their digits,
    which a threshold far above that does not see.
    """
    wide = weights.shape[0] < weights.shape[1]
    matrix = weights.T if wide else weights
    squares, vectors = torch.linalg.eigh(matrix.T @ matrix)
    values = squares.clamp_min(0.0).sqrt()
    kept = (1 - threshold / values).clamp_min(0.0)  # 1 - inf at a value of 0
    shrunk = matrix @ ((vectors * kept) @ vectors.T)
    return (shrunk.T if wide else shrunk), float(kept @ values)


def duality_gap(data: MultitaskData, weights: Float[Tensor, "task feature"], mu: float) -> tuple[float, float]:
    """P(W) and the relative gap to the dual value of the scaled residual.

    D(theta) = <y, theta> - |theta|^2/2 for |sum_t e_t theta_t^T X_t|_op <= mu; theta = s (y - X W) with the best feasible s.
    """
    residual = data.targets - torch.einsum("tmd,td->tm", data.features, weights)
    correlation = torch.einsum("tmd,tm->td", data.features, residual)
    size, norm = float(torch.linalg.svdvals(weights).sum()), float(torch.linalg.matrix_norm(correlation, 2))
    return _gap(data.targets, residual, mu, size, norm)


def _gap(
    targets: Float[Tensor, "task sample"], residual: Float[Tensor, "task sample"], mu: float, size: float, norm: float
) -> tuple[float, float]:
    """`duality_gap` from |W|_* = size and |sum_t e_t r_t^T X_t|_op = norm."""
    square, along = float(residual.square().sum()), float((targets * residual).sum())
    primal = 0.5 * square + mu * size
    if square == 0.0:
        return primal, (0.0 if primal == 0.0 else 1.0)
    scale = max(0.0, min(mu / norm if norm > 0 else math.inf, along / square))
    dual = scale * along - 0.5 * scale * scale * square
    return primal, (primal - dual) / primal if primal > 0 else 0.0


def trace_norm_fit(
    data: MultitaskData,
    lam: float,
    *,
    tol: float = 1e-8,
    max_iter: int = 2000,
    start: Float[Tensor, "task feature"] | None = None,
) -> TraceNormFit:
    """FISTA with gradient restarts until the relative duality gap is at most `tol`.

    Where sigma <= 0.1 it starts from the minimiser over factors (`_over_factors`), whose rank short runs at a hundred and at ten
    times the penalty and at the penalty itself bound. The gap certifies the result whatever the start.

    Args:
        data: the tasks.
        lam: lambda of the estimator, > 0 (at 0 the objective has no unique minimiser).
        tol: relative duality gap to reach, in (0, 1e-3].
        max_iter: proximal steps from there; the gap of what was reached is returned, never hidden.
        start: where to begin; zeros.

    Raises:
        ValueError: for lam <= 0, tol outside (0, 1e-3] or max_iter < 1.
    """
    if not lam > 0 or not math.isfinite(lam):
        raise ValueError(f"lam must be > 0 and finite, got {lam!r}: at sigma = 0 theory_lambda is 0; give a lambda")
    if not 0 < tol <= 1e-3:
        raise ValueError(f"tol must be in (0, 1e-3], got {tol!r}")
    require_count("max_iter", max_iter, 1)
    T, m, _ = data.features.shape
    mu = lam * m * math.sqrt(T) / 2
    weights, taken = torch.zeros_like(data.weights) if start is None else start, 0
    if data.sigma <= LITTLE_NOISE:
        for factor in (100.0, 10.0, 1.0):
            weights, iterations, _ = _fista(data, factor * mu, weights, tol, 50)
            taken += iterations
        weights = _over_factors(data, mu, weights)
    weights, iterations, gap = _fista(data, mu, weights, tol, max_iter)
    return TraceNormFit(weights, gap, taken + iterations)


def _fista(
    data: MultitaskData, mu: float, start: Float[Tensor, "task feature"], tol: float, max_iter: int
) -> tuple[Float[Tensor, "task feature"], int, float]:
    """Steps begin at 1/max_t |X_t|_op^2 and grow as far as the curvature of the (quadratic) loss along each move allows."""
    features, targets = data.features, data.targets
    turned = features.mT.contiguous()

    def residual_of(weights: Tensor) -> Tensor:
        return torch.bmm(weights[:, None], turned)[:, 0] - targets

    step, t = 1.0 / _lipschitz(features), 1.0
    old = ahead = start
    residual_old = residual_ahead = residual_of(start)
    for iteration in range(1, max_iter + 1):
        gradient = torch.bmm(residual_ahead[:, None], features)[:, 0]
        while True:
            new, size = svt(ahead - step * gradient, step * mu)
            residual = residual_of(new)
            moved, bent = float((new - ahead).square().sum()), float((residual - residual_ahead).square().sum())
            if step * bent <= moved * (1 + 1e-9):
                break
            step = 0.9 * moved / bent
        if iteration % CHECK_EVERY == 0:
            norm = _operator_norm(torch.bmm(residual[:, None], features)[:, 0])
            # The quick gap only says when to look: the certificate is duality_gap's.
            if _gap(targets, -residual, mu, size, norm)[1] <= tol and (gap := duality_gap(data, new, mu)[1]) <= tol:
                return new, iteration, gap
        if float(((ahead - new) * (new - old)).sum()) > 0:
            t = 1.0
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        along = (t - 1) / following
        ahead, residual_ahead = new + along * (new - old), residual + along * (residual - residual_old)
        old, residual_old, t = new, residual, following
        step *= GROWTH
    return old, max_iter, duality_gap(data, old, mu)[1]


def _over_factors(
    data: MultitaskData, mu: float, weights: Float[Tensor, "task feature"]
) -> Float[Tensor, "task feature"]:
    """The minimiser of P over W = A B^T with as many columns as `weights` has rank, by L-BFGS in B alone.

    P(A B^T) <= loss + mu (|A|^2 + |B|^2)/2 with equality at balanced factors; for given B every row of A is a ridge regression.
    """
    features, targets = data.features, data.targets
    _, values, right = torch.linalg.svd(weights, full_matrices=False)
    rank = int((values > 1e-8 * values[0]).sum())
    if rank == 0:
        return weights
    ridge = mu * torch.eye(rank, dtype=features.dtype)

    def fitted(flat: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        factor = torch.from_numpy(flat).reshape(-1, rank)
        inside = features @ factor
        rows = torch.linalg.solve(inside.mT @ inside + ridge, inside.mT @ targets[..., None])
        return factor, rows[..., 0], (inside @ rows)[..., 0] - targets

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        factor, rows, residual = fitted(flat)
        total = 0.5 * residual.square().sum() / mu + 0.5 * (rows.square().sum() + factor.square().sum())
        slope = torch.bmm(residual[:, None], features)[:, 0].T @ rows / mu + factor
        return float(total), slope.numpy().ravel()

    begin = right[:rank].T * values[:rank].clamp_min(1e-3 * values[0]).sqrt()
    options = {"maxiter": 150, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
    found = minimize(value, begin.contiguous().numpy().ravel(), jac=True, method="L-BFGS-B", options=options).x
    factor, rows, _ = fitted(found)
    return rows @ factor.T


def _operator_norm(matrix: Float[Tensor, "task feature"]) -> float:
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))


def _lipschitz(features: Float[Tensor, "task sample feature"]) -> float:
    """max_t |X_t|_op^2, from the smaller Gram matrices."""
    wide = features.shape[1] < features.shape[2]
    gram = features @ features.mT if wide else features.mT @ features
    return float(torch.linalg.eigvalsh(gram)[:, -1].max())
