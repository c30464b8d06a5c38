"""The spread of the sample gradients: their covariance, its eigenvalues, and the ratio of signal to noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.curvature.empirical import known
from workbench.curvature.flat import size_of
from workbench.curvature.scales import power_of_two
from workbench.curvature.spectra.spectrum import symmetric_eigenvalues
from workbench.parameters import Parameters

from .gradients import per_sample_gradients
from .source import SampleLoss, Source


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
    centred = _centred(per_sample_gradients(loss, parameters, *data, chunk=chunk))
    require_square_range(centred)
    return centred.mT @ centred / centred.shape[0]


def gradient_covariance_spectrum(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Float[Tensor, " eigenvalue"]:
    """The min(n, P) largest eigenvalues of the gradient covariance, ascending; the others are zero.

    Computed from the smaller of the [n, n] Gram matrix and the [P, P] covariance, whose non-zero spectra agree.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.gradient_covariance_spectrum(sample_loss, torch.ones(1), inputs, targets)
    tensor([16.])
    """
    centred = _centred(per_sample_gradients(loss, parameters, *data, chunk=chunk))
    require_square_range(centred)
    samples, size = centred.shape
    gram = centred @ centred.mT if samples <= size else centred.mT @ centred
    return symmetric_eigenvalues(gram / samples).clamp(min=0)


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
    source = Source(loss, parameters, data, chunk)
    samples, scale = source.samples, None
    total, squares = torch.zeros_like(source.flat), torch.zeros_like(source.flat[0])
    for start in source.starts:
        gradients = source.gradients(start)
        require_square_range(gradients)
        scale = power_of_two(gradients) if scale is None else scale
        gradients = gradients / scale
        total = total + gradients.sum(0)
        squares = squares + gradients.square().sum()
    assert scale is not None
    mean_square = (total / samples).square().sum()
    variance = (squares / samples - mean_square).clamp(min=0)
    return GradientNoise(mean_square * scale**2, variance * scale**2, mean_square / variance)


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
