"""Trace, diagonal and Frobenius norm of a Hessian from a few dozen products, each with an interval that holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, require_finite, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm
from workbench.parameters import Parameters

from .estimate import Estimate, between, exact, mean_square_interval, plug_in, rounding, student_quantile, symmetric
from .sketch import Sketch, unreached, without


def trace(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The sum of all Hessian eigenvalues, by XTrace: unbiased, and exact where the Hessian's rank is below products / 2.

    Half of the products find the dominant eigenspace, the other half measure there and outside; every random vector
    serves both purposes by leaving one out at a time. The error falls much faster than Hutchinson's (about
    1 / products instead of 1 / sqrt(products)) where the spectrum has outliers. With `products >= P` the trace is
    computed exactly. Runs under `torch.func.vmap`.

    The interval is Student's, with a variance and degrees of freedom from how long the images are outside of the eigenspace
    that was found: far less uncertain than the spread of the terms. Since vectors are Gaussian, how often it holds the trace
    depends on the eigenvalues alone. The values left out are dependent: the variance allows for it, and the interval is up
    to sqrt(2) too wide where the spectrum is flat (measured in `benchmarks/bench_coverage.py`).

    Source: Epperly, Tropp and Webber 2024, arXiv 2301.07825, section 2.1.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.trace(bowl.loss, x).value.item()
    5.0
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return exact(hessian_rows(operator).diagonal().sum())
    number = products // 2
    sketch = Sketch(operator, _gaussian(operator, number, seed, "sketch"))
    # Leaving out vector i costs no product: everything happens in the basis of the images.
    gone = unreached(sketch.triangle)
    kept = without(gone, sketch.coefficients)
    inside = sketch.core.diagonal().sum() - (gone * (sketch.core @ gone)).sum(0)
    room = operator.size - number + 1
    vectors, scales = _on_sphere(sketch.tests - kept.mT @ sketch.range, room)
    images = scales * (sketch.images - kept.mT @ sketch.range_images)
    outside = (vectors * images).sum(1)
    left = images - without(gone, sketch.range @ images.mT).mT @ sketch.range
    # On the sphere a multiple of the identity has no error: what it adds to the images is taken out.
    mean, degrees = plug_in(left - outside.mean() / room * vectors, room)
    # Every vector is measured against a basis made of the others, so the estimates depend on pairs of vectors. For a
    # statistic of pairs the variance is twice that of independent terms (a degenerate U-statistic), never more here.
    variance = 2 * _form_variance(mean, room) / number
    norm_found = (sketch.range_images.square().sum() + mean).sqrt()
    half = student_quantile(degrees) * variance.sqrt() + rounding(operator.size**0.5 * norm_found)
    return symmetric((inside + outside).mean() * sketch.scale, half * sketch.scale)


def frobenius_norm(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The root of the sum of all squared Hessian eigenvalues: a third of the products each to find the dominant eigenspace, to
    measure there and between there and the rest, and to measure the rest with fresh vectors.

    With Q a basis of what was found and P what is left, |H|^2 = |Q'HQ|^2 + 2 |PHQ|^2 + |PHP|^2, of which only the last is
    estimated: by a mean of squares, whose interval is that of a chi-squared variable with estimated degrees of freedom, wider
    for few vectors. (Leave-one-out vectors would give a little more accuracy and intervals that hold the norm in 60 to 90 % of
    the cases only.) Exact with `products >= P` or for rank below products / 3. Runs under `torch.func.vmap`.

    Source: Meyer, Musco, Musco and Woodruff 2021, arXiv 2010.09649, applied to the squared Hessian.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([3.0, 4.0]), torch.ones(2).double()
    >>> wb.curvature.frobenius_norm(bowl.loss, x).value
    tensor(5., dtype=torch.float64)
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return exact(norm(hessian_rows(operator)))
    found = products // 3
    sketch = Sketch(operator, _gaussian(operator, found, seed, "sketch"))
    number = products - 2 * found
    fresh = _gaussian(operator, number, seed, "outside")
    room = operator.size - found
    fresh, _ = _on_sphere(fresh - (fresh @ sketch.range.mT) @ sketch.range, room)
    images = operator(fresh) / sketch.scale
    mean, degrees = plug_in(images - (images @ sketch.range.mT) @ sketch.range, room)
    known = 2 * sketch.range_images.square().sum() - sketch.core.square().sum()
    low, high = mean_square_interval(mean, degrees, number)
    value, low, high = (torch.sqrt(known + rest) * sketch.scale for rest in (mean, low, high))
    return between(value, low - rounding(value), high + rounding(value))


def diagonal(loss: Loss, parameters: Parameters, *, products: int = 64, seed: int | Tensor = 0) -> Estimate:
    """The Hessian's diagonal [parameter] with an interval for each entry, by XDiag (arXiv 2301.07825, section 2.3).

    Exact with `products >= P`. Runs under `torch.func.vmap`.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.diagonal(bowl.loss, x).value
    tensor([1., 4.], dtype=torch.float64)
    """
    operator = _operator(loss, parameters, products)
    if products >= operator.size:
        return exact(hessian_rows(operator).diagonal())
    number = products // 2
    # A sign's square is 1: the entry itself adds nothing to the error.
    signs = draws.signs(seed, (number, operator.size), stream="sketch", dtype=operator.dtype)
    sketch = Sketch(operator, signs.to(operator.device))
    gone = unreached(sketch.triangle)
    outside = sketch.images - without(gone, sketch.triangle).mT @ sketch.range
    lost = (gone.mT @ sketch.range) * (gone.mT @ sketch.range_images)
    values = (sketch.range * sketch.range_images).sum(0) - lost + sketch.tests * outside
    variance = outside.square().mean(0) / number
    half = student_quantile(variance.new_full((), number - 1.0)) * variance.sqrt()
    row_norms = (sketch.range_images.square().sum(0) + outside.square().mean(0)).sqrt()
    return symmetric(values.mean(0) * sketch.scale, (half + rounding(row_norms)) * sketch.scale)


def _operator(loss: Loss, parameters: Parameters, products: int) -> HVPOperator:
    if products < 6:
        raise ValueError(f"products={products}; at least 6 are needed for an estimate with an error")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    vectors = 8 * (products // 2) if products < size else 2 * size
    memory.require(
        vectors * size * dtype.itemsize,
        f"A sketch of {products} products of {size:,} parameters",
        "Ask for fewer products.",
    )
    require_finite(parameters)
    return hvp_operator(loss, parameters)


def _gaussian(operator: HVPOperator, number: int, seed: int | Tensor, stream: str) -> Tensor:
    return draws.normal(seed, (number, operator.size), stream=stream, dtype=operator.dtype).to(operator.device)


def _on_sphere(vectors: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Gaussian vectors of a space of this dimension, scaled to the length of its root; and the scales [vector, 1]."""
    scales = dimension**0.5 / vectors.norm(dim=1, keepdim=True)
    return vectors * scales, scales


def _form_variance(mean_square: Tensor, dimension: int) -> Tensor:
    """Variance of z' A z for z uniform on the sphere of radius sqrt(dimension), A without trace and |A|^2 as given."""
    return 2 * dimension / (dimension + 2) * mean_square
