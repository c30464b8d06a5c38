"""Gradients of single samples and their norms.

Every function takes either `(sample_loss, parameters, *data)`, where `sample_loss(parameters, *sample) -> scalar` and each
tensor (or tuple or dict of tensors) in `data` has a leading sample dimension, or one loader of such data; or
`(loss, parameters)` with an `empirical_loss`, which knows its data and whose layers make the norms cheaper. Weight decay
belongs to no sample and is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.parameters import Parameters

from .source import SampleLoss, Source


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
    source = Source(loss, parameters, data, chunk, whole=True)
    if source.transformed:
        return torch.cat([source.gradients(start) for start in source.starts])
    buffer = source.flat.new_empty(source.samples, source.flat.numel())
    for start in source.starts:
        source.gradients(start, buffer[start : start + source.chunk])
    return buffer


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
    source = Source(loss, parameters, data, chunk)
    found = [source.square_norms(start) for start in source.starts]
    return torch.cat([squares.sqrt() * scale for squares, scale in found])
