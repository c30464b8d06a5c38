"""The trace-norm estimator with a certificate: FISTA, and at the end a duality gap.

min_W (1/(T m)) sum_t |y_t - X_t w_t|^2 + (lambda/sqrt T) |W|_*   (arXiv:2202.06742), solved as
P(W) = 1/2 sum_t |y_t - X_t w_t|^2 + mu |W|_*,  mu = lambda m sqrt(T)/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count, require_nonnegative
from workbench.papers.trace_norm_multitask.data import MultitaskData

CHECK_EVERY = 10
"""Iterations between two looks at the duality gap, which costs about one iteration."""


@dataclass(frozen=True, eq=False)
class TraceNormFit:
    """A minimiser with its certificate.

    Attributes:
        weights: W.
        gap: relative duality gap (P(W) - D)/P(W) >= (P(W) - min P)/P(W): a proof of how far the objective is from its minimum.
        iterations: proximal steps taken, over all continuation stages.
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
    kept = (values - threshold).clamp_min(0.0)
    factors = torch.where(values > 0, kept / values.clamp_min(torch.finfo(values.dtype).tiny), torch.zeros_like(values))
    shrunk = (matrix @ (vectors * factors)) @ vectors.T
    return (shrunk.T if wide else shrunk), float(kept.sum())


def duality_gap(data: MultitaskData, weights: Float[Tensor, "task feature"], mu: float) -> tuple[float, float]:
    """P(W) and the relative gap to the dual value of the scaled residual.

    D(theta) = <y, theta> - |theta|^2/2 for |sum_t e_t theta_t^T X_t|_op <= mu; theta = s (y - X W) with the best feasible s.
    """
    residual = data.targets - torch.einsum("tmd,td->tm", data.features, weights)
    correlation = torch.einsum("tmd,tm->td", data.features, residual)
    primal = float(0.5 * residual.square().sum() + mu * torch.linalg.svdvals(weights).sum())
    norm = float(torch.linalg.matrix_norm(correlation, 2))
    square, along = float(residual.square().sum()), float((data.targets * residual).sum())
    if square == 0.0:
        return primal, (0.0 if primal == 0.0 else 1.0)
    size = max(0.0, min(mu / norm if norm > 0 else math.inf, along / square))
    dual = size * along - 0.5 * size * size * square
    return primal, (primal - dual) / primal if primal > 0 else 0.0


def trace_norm_fit(
    data: MultitaskData,
    lam: float,
    *,
    tol: float = 1e-8,
    max_iter: int = 2000,
    start: Float[Tensor, "task feature"] | None = None,
    stages: int | None = None,
) -> TraceNormFit:
    """FISTA with gradient restarts until the relative duality gap is at most `tol`.

    Args:
        data: the tasks.
        lam: lambda of the estimator, > 0 (at 0 the objective has no unique minimiser).
        tol: relative duality gap to reach, in (0, 1e-3].
        max_iter: proximal steps of the last stage; the gap of what was reached is returned, never hidden.
        start: where to begin; zeros.
        stages: stages of continuation, lambda from a hundred times its value down to it in geometric steps; by default 6 where
            sigma <= 0.1 (without them small lambda takes thousands of steps), else 1.

    Raises:
        ValueError: for lam <= 0, tol outside (0, 1e-3] or max_iter < 1.
    """
    if not lam > 0 or not math.isfinite(lam):
        raise ValueError(f"lam must be > 0 and finite, got {lam!r}: at sigma = 0 theory_lambda is 0; give a lambda")
    if not 0 < tol <= 1e-3:
        raise ValueError(f"tol must be in (0, 1e-3], got {tol!r}")
    require_count("max_iter", max_iter, 1)
    stages = (6 if data.sigma <= 0.1 else 1) if stages is None else stages
    require_count("stages", stages, 1)
    T, m, _ = data.features.shape
    weights = torch.zeros_like(data.weights) if start is None else start
    taken, gap = 0, math.inf
    for stage in range(stages):
        last = stage == stages - 1
        factor = 100.0 ** (1 - stage / (stages - 1)) if stages > 1 else 1.0
        mu = factor * lam * m * math.sqrt(T) / 2
        weights, iterations, gap = _fista(data, mu, weights, tol if last else 1e-4, max_iter if last else 200)
        taken += iterations
    return TraceNormFit(weights, gap, taken)


def _fista(
    data: MultitaskData, mu: float, start: Float[Tensor, "task feature"], tol: float, max_iter: int
) -> tuple[Float[Tensor, "task feature"], int, float]:
    features, targets = data.features, data.targets
    step = 1.0 / _lipschitz(features)
    old, ahead, t, gap = start, start, 1.0, math.inf
    for iteration in range(1, max_iter + 1):
        residual = torch.bmm(features, ahead[..., None])[..., 0] - targets
        gradient = torch.bmm(residual[:, None], features)[:, 0]
        new, _ = svt(ahead - step * gradient, step * mu)
        if iteration % CHECK_EVERY == 0 or iteration == max_iter:
            gap = duality_gap(data, new, mu)[1]
            if gap <= tol:
                return new, iteration, gap
        if float(((ahead - new) * (new - old)).sum()) > 0:
            t = 1.0
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = new + ((t - 1) / following) * (new - old)
        old, t = new, following
    return old, max_iter, gap


def _lipschitz(features: Float[Tensor, "task sample feature"]) -> float:
    """max_t |X_t|_op^2, from the smaller Gram matrices."""
    wide = features.shape[1] < features.shape[2]
    gram = features @ features.mT if wide else features.mT @ features
    return float(torch.linalg.eigvalsh(gram)[:, -1].max())
