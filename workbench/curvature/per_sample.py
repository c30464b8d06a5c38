"""Gradients of single samples, and what their spread says.

Every function takes either `(sample_loss, parameters, *data)`, where `sample_loss(parameters, *sample) -> scalar` and each
tensor in `data` has a leading sample dimension, or `(loss, parameters)` with an `empirical_loss`, which knows its data and
whose layers make the norms cheaper. Weight decay belongs to no sample and is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.curvature.layers.sample_taps import chunk_gradients, chunk_square_norms
from workbench.curvature.layers.structured import recognised
from workbench.parameters import Parameters, leaves

from .flat import flat_loss, flatten
from .spectrum import symmetric_eigenvalues

SampleLoss = Callable[..., Tensor]


_CHUNK, _CHUNK_BY_LAYERS = 128, 512


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
    loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int | None = None
) -> Float[Tensor, "sample parameter"]:
    """The gradient of every sample's loss, as rows of one matrix; columns follow `parameters.ravel`.

    Gradients are computed `chunk` samples at a time and written into one buffer: from one backward pass for all of them
    where a network's layers are known (512 by default), else by a vmapped gradient (128). Runs under `torch.func.vmap`.

    Raises:
        ValueError: no data, different numbers of samples, or a loss that is not one number per sample.
        workbench.memory.OutOfBudget: the matrix does not fit; use `per_sample_gradient_norms` or fewer samples.
    """
    source = _Source(loss, parameters, data, chunk)
    copies = 2 if source.transformed else 1
    memory.require(
        copies * source.samples * source.flat.numel() * source.flat.element_size(),
        f"The gradients of {source.samples:,} samples in {source.flat.numel():,} parameters",
        "Use per_sample_gradient_norms, fewer samples, or raise WORKBENCH_MEMORY (GiB).",
    )
    if source.transformed:
        return torch.cat([source.gradients(start) for start in source.starts])
    buffer = source.flat.new_empty(source.samples, source.flat.numel())
    for start in source.starts:
        source.gradients(start, buffer[start : start + source.chunk])
    return buffer


def per_sample_gradient_norms(
    loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int | None = None
) -> Float[Tensor, " sample"]:
    """Euclidean norm of every sample's gradient; nothing larger than `chunk` gradients is formed, for networks of affine
    layers not even those ("ghost norms"). Runs under `torch.func.vmap`.
    """
    source = _Source(loss, parameters, data, chunk)
    return torch.cat([source.square_norms(start) for start in source.starts]).sqrt()


def gradient_covariance(
    loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int | None = None
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
    centred = _centred(per_sample_gradients(loss, parameters, *data, chunk=chunk))
    return centred.mT @ centred / centred.shape[0]


def gradient_covariance_spectrum(
    loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int | None = None
) -> Float[Tensor, " eigenvalue"]:
    """The min(n, P) largest eigenvalues of the gradient covariance, ascending; the others are zero.

    Computed from the smaller of the [n, n] Gram matrix and the [P, P] covariance, whose non-zero spectra agree.
    """
    centred = _centred(per_sample_gradients(loss, parameters, *data, chunk=chunk))
    samples, size = centred.shape
    gram = centred @ centred.mT if samples <= size else centred.mT @ centred
    return symmetric_eigenvalues(gram / samples).clamp(min=0)


def gradient_signal_to_noise(
    loss: SampleLoss, parameters: Parameters, *data: Tensor, chunk: int | None = None
) -> GradientNoise:
    """Squared norm of the mean sample gradient against the trace of the covariance; nothing [n, P] is stored."""
    source = _Source(loss, parameters, data, chunk)
    samples = source.samples
    total, squares = torch.zeros_like(source.flat), torch.zeros_like(source.flat[0])
    for start in source.starts:
        gradients = source.gradients(start)
        total = total + gradients.sum(0)
        squares = squares + gradients.square().sum()
    mean_square = (total / samples).square().sum()
    variance = (squares / samples - mean_square).clamp(min=0)
    return GradientNoise(mean_square, variance, mean_square / variance)


class _Source:
    """Where the gradients of one call come from: a vmapped sample loss, and for norms a network's taps if it has them."""

    def __init__(self, loss: SampleLoss, parameters: Parameters, data: tuple[Tensor, ...], chunk: int | None) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk={chunk}; choose how many samples to treat at once, at least 1")
        network = recognised(loss)
        structured = network is not None and network.structure is not None and isinstance(parameters, dict)
        self.network = network if structured else None
        self.sample_loss, self.data = sample_problem(loss, data)
        self.chunk = chunk or (_CHUNK_BY_LAYERS if structured else _CHUNK)
        self.samples = self.data[0].shape[0]
        self.starts = range(0, self.samples, self.chunk)
        self.flat, self.unflatten = flatten(parameters)
        # Under a torch.func transform nothing may be written into a plain buffer.
        self.transformed = any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in (self.flat, *self.data))
        if network is not None:
            network.check(parameters)
        point = self.unflatten(self.flat)
        self._entries = point if isinstance(point, dict) else {}

    def gradients(self, start: int, buffer: Tensor | None = None) -> Tensor:
        if self.network is not None and not self.transformed and not self.flat.requires_grad:
            inputs, targets = self._batch(start)
            buffer = self.flat.new_empty(len(inputs), self.flat.numel()) if buffer is None else buffer
            chunk_gradients(self.network, self._entries, inputs, targets, buffer)
            return buffer
        point = self.unflatten(self.flat)

        def one_gradient(*sample: Tensor) -> Parameters:
            evaluate = flat_loss(lambda here: self.sample_loss(here, *sample), lambda here: here)
            return torch.func.grad(evaluate)(point)  # pyrefly: ignore[bad-argument-type]

        pieces = [
            piece.reshape(piece.shape[0], -1) for piece in leaves(torch.func.vmap(one_gradient)(*self._batch(start)))
        ]
        if buffer is None:
            return torch.cat(pieces, dim=1)
        for part, piece in zip(buffer.split([piece.shape[1] for piece in pieces], dim=1), pieces, strict=True):
            part.copy_(piece)
        return buffer

    def square_norms(self, start: int) -> Tensor:
        if self.network is None:
            return self.gradients(start).square().sum(1)
        return chunk_square_norms(self.network, self._entries, *self._batch(start))

    def _batch(self, start: int) -> list[Tensor]:
        return [tensor[start : start + self.chunk] for tensor in self.data]


def sample_problem(loss: SampleLoss, data: tuple[Tensor, ...]) -> tuple[SampleLoss, tuple[Tensor, ...]]:
    """The sample loss and its data, taken from an empirical loss where no data are given; checked."""
    network = recognised(loss)
    if network is not None:
        if network.reduction is None:
            raise ValueError(
                "this loss couples its samples (or weighs them), so a sample has no gradient of its own; pass a "
                "sample_loss(parameters, *sample) and the data instead"
            )
        loss, data = network.sample_loss, data or (network.inputs, network.targets)
    if not data:
        raise ValueError("no data: pass the tensors of samples after the parameters, e.g. *problem.data")
    sizes = [tensor.shape[0] if tensor.ndim else 0 for tensor in data]
    if len(set(sizes)) > 1 or sizes[0] == 0:
        raise ValueError(f"every data tensor needs the same leading number of samples >= 1, got {sizes}")
    return loss, data


def _centred(gradients: Tensor) -> Tensor:
    return gradients - gradients.mean(0)
