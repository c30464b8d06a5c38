"""Gradients of single samples and their norms.

Every function takes either `(sample_loss, parameters, *data)`, where `sample_loss(parameters, *sample) -> scalar` and each
tensor (or tuple or dict of tensors) in `data` has a leading sample dimension, or one loader of such data; or
`(loss, parameters)` with an `empirical_loss`, which knows its data and whose layers make the norms cheaper. Weight decay
belongs to no sample and is left out. A loader is read a few batches at a time: its data are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.curvature.flat import size_of
from workbench.parameters import Parameters

from .source import SampleLoss, chunk_size
from .stream import count_samples, gradient_blocks, sources


def per_sample_gradients(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Float[Tensor, "sample parameter"]:
    """The gradient of every sample's loss, as rows of one matrix; columns follow `parameters.ravel`.

    Gradients are computed `chunk` samples at a time and written into one buffer: from one backward pass for all of them
    where a network's layers are known (512 by default), else by a vmapped gradient (128). Runs under `torch.func.vmap`.

    Raises:
        ValueError: no data, different numbers of samples, or a loss that is not one number per sample.
        workbench.memory.OutOfBudget: the matrix does not fit; use `per_sample_gradient_norms` or fewer samples.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.per_sample_gradients(sample_loss, torch.ones(1), inputs, targets)
    tensor([[1.],
            [9.]])
    """
    (size, dtype), samples = size_of(parameters), count_samples(loss, data)

    def require(copies: int) -> None:
        memory.require(
            copies * samples * size * dtype.itemsize,
            f"The gradients of {samples:,} samples in {size:,} parameters",
            "Use stream_per_sample_gradients, per_sample_gradient_norms, fewer samples, or raise WORKBENCH_MEMORY (GiB).",
        )

    require(1)
    buffer, filled, blocks = None, 0, []
    for source in sources(loss, parameters, data, chunk):
        if source.transformed:
            require(2)
            blocks += [source.gradients(start) for start in source.starts]
            continue
        buffer = source.flat.new_empty(samples, size) if buffer is None else buffer
        for start in source.starts:
            block = buffer[filled : filled + min(source.chunk, source.samples - start)]
            source.gradients(start, block)
            filled += len(block)
    return torch.cat(blocks) if buffer is None else buffer


def stream_per_sample_gradients(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Iterator[Float[Tensor, "sample parameter"]]:
    """The rows of `per_sample_gradients` in blocks of at most `chunk`, one after the other, for data sets whose gradients do not
    fit in memory.

    >>> import torch
    >>> import workbench as wb
    >>> data = torch.utils.data.TensorDataset(torch.tensor([1.0, 3.0, 2.0]), torch.zeros(3))
    >>> loader = torch.utils.data.DataLoader(data, batch_size=1)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> for rows in wb.curvature.stream_per_sample_gradients(sample_loss, torch.ones(1), loader, chunk=2):
    ...     print(rows.flatten())
    tensor([1., 9.])
    tensor([4.])
    """
    chunk_size(loss, parameters, chunk)
    return gradient_blocks(loss, parameters, data, chunk)


def per_sample_gradient_norms(
    loss: SampleLoss, parameters: Parameters, *data: Any, chunk: int | None = None
) -> Float[Tensor, " sample"]:
    """Euclidean norm of every sample's gradient; nothing larger than `chunk` gradients is formed, for networks of affine
    layers not even those ("ghost norms"). Runs under `torch.func.vmap`.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.per_sample_gradient_norms(sample_loss, -torch.ones(1), inputs, targets)
    tensor([1., 9.])
    """
    found = [source.square_norms(start) for source in sources(loss, parameters, data, chunk) for start in source.starts]
    return torch.cat([squares.sqrt() * scale for squares, scale in found])
