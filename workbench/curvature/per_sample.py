"""Gradients of single samples, and what their spread says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.parameters import Parameters

from .products import flat_loss, flatten
from .spectrum import symmetric_eigenvalues

SampleLoss = Callable[..., Tensor]


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


def per_sample_gradients(
    sample_loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int = 64
) -> Float[Tensor, "sample parameter"]:
    """The gradient of every sample's loss, as rows of one matrix.

    `sample_loss(parameters, *sample)` is the loss of one sample; each tensor in `data` has a leading sample dimension.
    Columns follow `parameters.ravel`. Gradients are computed `chunk` samples at a time and written into one buffer.
    Works inside `torch.func.vmap`.

    Raises:
        ValueError: no data, different numbers of samples, or a loss that is not one number per sample.
        workbench.memory.OutOfBudget: the matrix does not fit; use `per_sample_gradient_norms` or fewer samples.
    """
    samples = _samples(data, chunk)
    flat, chunk_gradients = _chunked(sample_loss, parameters, data, chunk)
    memory.require(
        samples * flat.numel() * flat.element_size() * (2 if _transformed(flat, *data) else 1),
        f"The gradients of {samples:,} samples in {flat.numel():,} parameters",
        "Use per_sample_gradient_norms, fewer samples, or raise WORKBENCH_MEMORY (GiB).",
    )
    if _transformed(flat, *data):
        return torch.cat([chunk_gradients(start) for start in range(0, samples, chunk)])
    buffer = flat.new_empty(samples, flat.numel())
    for start in range(0, samples, chunk):
        buffer[start : start + chunk] = chunk_gradients(start)
    return buffer


def per_sample_gradient_norms(
    sample_loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int = 64
) -> Float[Tensor, " sample"]:
    """Euclidean norm of every sample's gradient, with at most `chunk` gradients in memory at once."""
    samples = _samples(data, chunk)
    _, chunk_gradients = _chunked(sample_loss, parameters, data, chunk)
    squares = [chunk_gradients(start).square().sum(1) for start in range(0, samples, chunk)]
    return torch.cat(squares).sqrt()


def gradient_covariance(
    sample_loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int = 64
) -> Float[Tensor, "parameter parameter"]:
    """Covariance matrix of the sample gradients (divisor n), exact.

    Raises:
        workbench.memory.OutOfBudget: it does not fit; use `gradient_covariance_spectrum`, which takes the smaller of
            n and P.
    """
    flat, _ = flatten(parameters)
    memory.require(
        flat.numel() ** 2 * flat.element_size(),
        f"A dense {flat.numel():,} x {flat.numel():,} gradient covariance",
        "Use gradient_covariance_spectrum.",
    )
    centred = _centred(per_sample_gradients(sample_loss, parameters, *data, chunk=chunk))
    return centred.mT @ centred / centred.shape[0]


def gradient_covariance_spectrum(
    sample_loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int = 64
) -> Float[Tensor, " eigenvalue"]:
    """The min(n, P) largest eigenvalues of the gradient covariance, ascending; the others are zero.

    Computed from the smaller of the [n, n] Gram matrix and the [P, P] covariance, whose non-zero spectra agree.
    """
    centred = _centred(per_sample_gradients(sample_loss, parameters, *data, chunk=chunk))
    samples, size = centred.shape
    gram = centred @ centred.mT if samples <= size else centred.mT @ centred
    return symmetric_eigenvalues(gram / samples).clamp(min=0)


def gradient_signal_to_noise(
    sample_loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int = 64
) -> GradientNoise:
    """Squared norm of the mean sample gradient against the trace of the covariance; nothing [n, P] is stored."""
    samples = _samples(data, chunk)
    flat, chunk_gradients = _chunked(sample_loss, parameters, data, chunk)
    total, squares = torch.zeros_like(flat), torch.zeros_like(flat[0])
    for start in range(0, samples, chunk):
        gradients = chunk_gradients(start)
        total = total + gradients.sum(0)
        squares = squares + gradients.square().sum()
    mean_square = (total / samples).square().sum()
    variance = (squares / samples - mean_square).clamp(min=0)
    return GradientNoise(mean_square, variance, mean_square / variance)


def _samples(data: tuple[Tensor, ...], chunk: int) -> int:
    if not data:
        raise ValueError("no data: pass the tensors of samples after the parameters, e.g. *problem.data")
    sizes = [tensor.shape[0] if tensor.ndim else 0 for tensor in data]
    if len(set(sizes)) > 1 or sizes[0] == 0:
        raise ValueError(f"every data tensor needs the same leading number of samples >= 1, got {sizes}")
    if chunk < 1:
        raise ValueError(f"chunk={chunk}; choose how many samples to treat at once, at least 1")
    return sizes[0]


def _chunked(
    sample_loss: SampleLoss, parameters: Parameters, data: tuple[Tensor, ...], chunk: int
) -> tuple[Tensor, Callable[[int], Tensor]]:
    flat, unflatten = flatten(parameters)

    def one_gradient(*sample: Tensor) -> Tensor:
        return torch.func.grad(flat_loss(lambda point: sample_loss(point, *sample), unflatten))(flat)

    every = torch.func.vmap(one_gradient)
    return flat, lambda start: every(*(tensor[start : start + chunk] for tensor in data))


def _centred(gradients: Tensor) -> Tensor:
    return gradients - gradients.mean(0)


def _transformed(*tensors: Tensor) -> bool:
    """Whether a torch.func transform is active, under which nothing may be written into a plain buffer."""
    return any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors)
