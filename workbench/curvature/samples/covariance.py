"""The spread of the sample gradients: their covariance, its eigenvalues, and the ratio of signal to noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.curvature.empirical import known
from workbench.curvature.flat import size_of
from workbench.curvature.model import transformed
from workbench.curvature.scales import power_of_two
from workbench.curvature.spectra.spectrum import symmetric_eigenvalues
from workbench.parameters import Parameters

from .gradients import per_sample_gradients
from .source import SampleLoss, Source, chunk_size
from .stream import count_samples, gradient_blocks, require_one_order, sources


class GradientNoise(NamedTuple):
    """Mean and spread of the sample gradients of one data set.

    Attributes:
        mean_square: |mean gradient|^2 of the whole data set.
        variance: trace of the gradient covariance (divisor n).
        signal_to_noise: mean_square / variance; its inverse is the "simple noise scale" (arXiv 1812.06162, eq. 2.9),
            the batch size at which signal and noise are equal. Infinite where all sample gradients agree, NaN where
            they are all zero.
    """

    mean_square: Float[Tensor, ""]
    variance: Float[Tensor, ""]
    signal_to_noise: Float[Tensor, ""]


def gradient_covariance(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Float[Tensor, "parameter parameter"]:
    """Covariance matrix of the sample gradients (divisor n), exact.

    Raises:
        workbench.memory.OutOfBudget: it does not fit; use `gradient_covariance_spectrum`, which takes the smaller of
            n and P.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.gradient_covariance(sample_loss, torch.ones(1), inputs, targets)  # ((9 - 1)/2)^2
    tensor([[16.]])
    """
    size, dtype = size_of(parameters)
    memory.require(
        size**2 * dtype.itemsize,
        f"A dense {size:,} x {size:,} gradient covariance",
        "Use gradient_covariance_spectrum.",
    )
    return _covariance(gradient_blocks(loss, parameters, data, chunk))


def gradient_covariance_spectrum(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Float[Tensor, " eigenvalue"]:
    """The min(n, P) largest eigenvalues of the gradient covariance, ascending; the others are zero.

    Computed from the smaller of the [n, n] Gram matrix and the [P, P] covariance, whose non-zero spectra agree. Where the n
    gradients do not fit in memory together, the Gram matrix is made in stripes, for each of which the data are gone through
    again.

    Raises:
        workbench.memory.OutOfBudget: the smaller matrix does not fit.
        ValueError: a loader that shuffles, where it must be gone through more than once.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.gradient_covariance_spectrum(sample_loss, torch.ones(1), inputs, targets)
    tensor([16.])
    """
    (size, dtype), samples = size_of(parameters), count_samples(loss, data)
    smaller, row = min(samples, size), size * dtype.itemsize
    memory.require(
        2 * smaller**2 * dtype.itemsize,
        f"The smaller matrix of {samples:,} gradients in {size:,} parameters, {smaller:,} x {smaller:,},",
        "Use fewer samples, or raise WORKBENCH_MEMORY (GiB).",
    )
    if samples > size:
        matrix = _covariance(gradient_blocks(loss, parameters, data, chunk))
    elif 3 * samples * row <= memory.share() or transformed():
        centred = _centred(per_sample_gradients(loss, parameters, *data, chunk=chunk))
        require_square_range(centred)
        matrix = centred @ centred.mT / samples
    else:
        require_one_order(data, "the spectrum of gradients that do not fit in memory together")
        together = chunk_size(loss, parameters, chunk)
        stripe = max(1, int(memory.share() // 2 // (row * together))) * together
        matrix = _gram(lambda skip: sources(loss, parameters, data, chunk, skip), samples, stripe)
    return symmetric_eigenvalues(matrix).clamp(min=0)


def gradient_signal_to_noise(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> GradientNoise:
    """Squared norm of the mean sample gradient against the trace of the covariance; nothing [n, P] is stored.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> noise = wb.curvature.gradient_signal_to_noise(sample_loss, torch.ones(1), inputs, targets)
    >>> noise.mean_square, noise.variance
    (tensor(25.), tensor(16.))
    """
    samples, scale, total, squares = 0, None, torch.zeros(()), torch.zeros(())
    for gradients in gradient_blocks(loss, parameters, data, chunk):
        require_square_range(gradients)
        scale = power_of_two(gradients) if scale is None else scale
        gradients = gradients / scale
        total = total + gradients.sum(0)
        squares = squares + gradients.square().sum()
        samples += len(gradients)
    assert scale is not None
    mean_square = (total / samples).square().sum()
    variance = (squares / samples - mean_square).clamp(min=0)
    return GradientNoise(mean_square * scale**2, variance * scale**2, mean_square / variance)


def _covariance(blocks: Iterator[Tensor]) -> Float[Tensor, "parameter parameter"]:
    """From sums over the blocks of deviations from the first one's mean, so that nothing large cancels."""
    centre, samples = None, 0
    total = second = largest = torch.zeros(())
    for rows in blocks:
        centre = rows.mean(0) if centre is None else centre
        rows = rows - centre
        largest = torch.maximum(rows.abs().amax(), largest.to(rows))
        total, second = total.to(rows) + rows.sum(0), second.to(rows) + rows.mT @ rows
        samples += len(rows)
    require_square_range(largest)
    mean = total / samples
    return second / samples - torch.outer(mean, mean)


def _gram(passes: Callable[[int], Iterator[Source]], samples: int, stripe: int) -> Float[Tensor, "sample sample"]:
    """Gram matrix of the centred gradients over n, in stripes of that many samples (whole chunks); `passes` goes through the
    samples, but for the first ones.
    """
    centre, gram, held, largest = torch.zeros(()), torch.zeros(()), torch.zeros(()), torch.zeros(())
    for low in range(0, samples, stripe):
        high = min(low + stripe, samples)
        for source in passes(low):
            for start in source.starts:
                begin = source.offset + start
                if begin < low:
                    continue
                rows = source.gradients(start)
                end = begin + len(rows)
                if begin == 0:
                    centre, gram = rows.mean(0), rows.new_zeros(samples, samples)
                rows = rows - centre
                largest = torch.maximum(rows.abs().amax(), largest.to(rows))
                if begin >= high:
                    gram[low:high, begin:end] = held @ rows.mT
                    gram[begin:end, low:high] = gram[low:high, begin:end].mT
                    continue
                held = rows.new_empty(high - low, rows.shape[1]) if begin == low else held
                held[begin - low : end - low] = rows
                if end == high:
                    gram[low:high, low:high] = held @ held.mT
    require_square_range(largest)
    means = gram.mean(0)
    return (gram - means - means[:, None] + means.mean()) / samples


def _centred(gradients: Tensor) -> Tensor:
    return gradients - gradients.mean(0)


def require_square_range(entries: Tensor) -> None:
    """Refuse gradients whose squares the dtype cannot hold.

    Raises:
        ValueError: they would be 0 or infinite.
    """
    largest = entries.abs().amax()
    small = (largest > 0) & (largest < torch.finfo(entries.dtype).tiny ** 0.5)
    if known(small | (largest > torch.finfo(entries.dtype).max ** 0.5)):
        raise ValueError(
            f"the gradients are of size {float(largest):.2g}, whose squares {str(entries.dtype).removeprefix('torch.')} cannot "
            "hold; use float64 or rescale the loss"
        )
