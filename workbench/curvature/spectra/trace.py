"""Trace, diagonal and Frobenius norm of a Hessian from a few dozen products, each with its standard error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, require_finite, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm, power_of_two
from workbench.parameters import Parameters


class Estimate(NamedTuple):
    """An estimate and its standard error; the error is 0 where the value is exact (to rounding).

    The spread of few terms is itself uncertain: the error is widened by Student's quantile over the normal one, so that 1.96 of
    them hold the value about as often as those of many terms do.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> estimate = wb.curvature.trace(bowl.loss, x)
    >>> float(estimate.value), float(estimate.standard_error)  # exact for so few parameters
    (5.0, 0.0)
    """

    value: Tensor
    standard_error: Tensor


def trace(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The sum of all Hessian eigenvalues, by XTrace: unbiased, and exact where the Hessian's rank is below products / 2.

    Half of the products find the dominant eigenspace, the other half measure there and outside; every random vector
    serves both purposes by leaving one out at a time. The error falls much faster than Hutchinson's (about
    1 / products instead of 1 / sqrt(products)) where the spectrum has outliers. With `products >= P` the trace is
    computed exactly. Runs under `torch.func.vmap`.

    The leave-one-out values are dependent: the standard error allows for it, and is up to sqrt(2) too large where the
    spectrum is flat (measured in the tests).

    Source: Epperly, Tropp and Webber 2024, arXiv 2301.07825, section 2.1.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.trace(bowl.loss, x).value.item()
    5.0
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return _exact(hessian_rows(operator).diagonal().sum())
    sketch = _Sketch(operator, products // 2, seed)
    # Leaving out vector i costs no product: everything happens in the basis of the images.
    gone = _unreached(sketch.triangle)
    kept = _without(gone, sketch.coefficients)
    inside = sketch.core.diagonal().sum() - (gone * (sketch.core @ gone)).sum(0)
    outside = (
        (sketch.tests * sketch.images).sum(1)
        - 2 * (kept * sketch.triangle).sum(0)
        + (kept * (sketch.core @ kept)).sum(0)
    )
    return _paired_mean(inside + outside, sketch.scale)


def frobenius_norm(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The root of the sum of all squared Hessian eigenvalues, as in Hutch++: a third of the products each to find the
    dominant eigenspace, to measure there, and to measure outside with fresh vectors.

    The square is unbiased, with independent terms; its standard error is carried over to the root. (Leave-one-out
    vectors would give a little more accuracy and an error estimate that is too small: measured coverage 87 % for 95 %.)
    Exact with `products >= P` or for rank below products / 3. Runs under `torch.func.vmap`.

    Source: Meyer, Musco, Musco and Woodruff 2021, arXiv 2010.09649, applied to the squared Hessian.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([3.0, 4.0]), torch.ones(2).double()
    >>> wb.curvature.frobenius_norm(bowl.loss, x).value
    tensor(5., dtype=torch.float64)
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return _exact(norm(hessian_rows(operator)))
    sketch = _Sketch(operator, products // 3, seed)
    number = products - 2 * (products // 3)
    fresh = draws.signs(seed, (number, operator.size), stream="outside", dtype=operator.dtype).to(operator.device)
    rest = (operator(fresh - (fresh @ sketch.range.mT) @ sketch.range) / sketch.scale).square().sum(1)
    square = sketch.range_images.square().sum() + rest.mean()
    root = square.clamp(min=0).sqrt()
    error = student(number) * rest.std() / number**0.5 / (2 * torch.where(root > 0, root, 1.0))
    return Estimate(root * sketch.scale, error * sketch.scale)


def diagonal(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The Hessian's diagonal [parameter] with a standard error for each entry, by XDiag (arXiv 2301.07825, section 2.3).

    Exact with `products >= P`. Runs under `torch.func.vmap`.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.diagonal(bowl.loss, x).value
    tensor([1., 4.], dtype=torch.float64)
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return _exact(hessian_rows(operator).diagonal())
    sketch = _Sketch(operator, products // 2, seed)
    gone = _unreached(sketch.triangle)
    outside = sketch.images - _without(gone, sketch.triangle).mT @ sketch.range
    lost = (gone.mT @ sketch.range) * (gone.mT @ sketch.range_images)
    return _paired_mean((sketch.range * sketch.range_images).sum(0) - lost + sketch.tests * outside, sketch.scale)


def _operator(loss: Loss, parameters: Parameters, products: int) -> HVPOperator:
    if products < 6:
        raise ValueError(f"products={products}; at least 6 are needed for an estimate with an error")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    vectors = 4 * (products // 2) if products < size else 2 * size
    memory.require(
        vectors * size * dtype.itemsize,
        f"A sketch of {products} products of {size:,} parameters",
        "Ask for fewer products.",
    )
    require_finite(parameters)
    return hvp_operator(loss, parameters)


def _exact(value: Tensor) -> Estimate:
    # Of runs in a sweep some may have diverged: their error is not known to be 0.
    return Estimate(value, torch.where(torch.isfinite(value), 0.0, torch.nan).to(value))


def _paired_mean(estimates: Tensor, scale: Tensor) -> Estimate:
    # Every vector is measured against a basis made of the others, so the estimates depend on pairs of vectors. For a
    # statistic of pairs the variance is twice that of independent terms (a degenerate U-statistic), never more here.
    number = estimates.shape[0]
    return Estimate(estimates.mean(0) * scale, student(number) * estimates.std(0) * (2 / number) ** 0.5 * scale)


def student(number: int) -> float:
    """Student's 97.5 % quantile for the mean of this many terms, over that of the normal distribution."""
    return float(stdtrit(number - 1, 0.975) / ndtri(0.975))


class _Sketch:
    """m sign vectors t_i, their images y_i = H t_i, an orthonormal basis q_j of the images' span, and H q_j.

    `triangle` holds the images' coefficients in the basis, `core` is the Hessian in the basis, and `coefficients` are
    those of the test vectors. The Hessian is divided by `scale`, a power of two that keeps squares in range.
    """

    def __init__(self, operator: HVPOperator, number: int, seed: int | Tensor) -> None:
        tests = draws.signs(seed, (number, operator.size), stream="sketch", dtype=operator.dtype)
        self.tests = tests.to(operator.device)
        images = operator(self.tests)
        self.scale = power_of_two(images)
        self.images = images / self.scale
        basis, self.triangle = torch.linalg.qr(self.images.mT)
        self.range = basis.mT
        self.range_images = operator(self.range) / self.scale
        self.core = self.range @ self.range_images.mT
        self.coefficients = self.range @ self.tests.mT


def _unreached(triangle: Tensor) -> Tensor:
    """Column i: the direction (in the basis) that the images other than the i-th do not reach.

    Without it the basis is independent of test vector i. Rank below m makes the triangle singular; a pivot at rounding
    level keeps the solve finite, and the direction it yields then lies outside the Hessian's range.
    """
    pivots = triangle.diagonal()
    largest = pivots.abs().amax()
    least = torch.where(largest > 0, torch.finfo(pivots.dtype).eps * largest, 1.0)
    safe = triangle + torch.diag(torch.where(pivots.abs() < least, least - pivots, 0.0))
    reached = torch.linalg.solve_triangular(
        safe.mT, torch.eye(*safe.shape, dtype=safe.dtype, device=safe.device), upper=False
    )
    return reached / reached.norm(dim=0)


def _without(direction: Tensor, columns: Tensor) -> Tensor:
    """Each column less its part along the direction of the same index."""
    return columns - direction * (direction * columns).sum(0)
