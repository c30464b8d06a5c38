"""Norms of per-sample gradients from the taps of a network's layers: one backward pass for a whole chunk of samples.

The gradient of sample i in an affine layer's weight is the outer product of the loss's derivative with respect to the
layer's output (its tap) and the layer's input, summed over positions. Its norm needs neither to be formed ("ghost norm",
arXiv 1510.01799 for one position, arXiv 2009.03106 for convolutions).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .empirical import EmpiricalLoss
from .taps import Layer, run_with, tapped_loss


def chunk_square_norms(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> Float[Tensor, " sample"]:
    """Squared norms of the gradients of the samples' losses, without weight decay.

    A layer's gradient is formed only where that is the cheaper way.
    """
    total = torch.zeros((), dtype=next(iter(parameters.values())).dtype, device=inputs.device)
    for layer, slopes, columns in _layers(loss, parameters, inputs, targets):
        positions, width, inside = layer.positions, layer.width, layer.columns
        if positions * (width + inside) <= width * inside:
            squares = (torch.bmm(slopes, slopes.mT) * torch.bmm(columns, columns.mT)).sum((1, 2))
        else:
            squares = torch.bmm(slopes.mT, columns).square().sum((1, 2))
        total = total + squares
    return total


def _layers(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> list[tuple[Layer, Tensor, Tensor]]:
    """Every layer with the samples' output derivatives [sample, position, width] and inputs [sample, position, column]."""
    assert loss.structure is not None
    layers = loss.structure.layers
    shapes: list[torch.Size] = []
    run_with(
        layers,
        lambda: loss.outputs(parameters, inputs[:1]),
        lambda _, values: (shapes.append(values.shape[1:]), values)[1],
    )
    like = next(iter(parameters.values()))
    zeros = tuple(torch.zeros(len(inputs), *shape, dtype=like.dtype, device=like.device) for shape in shapes)
    slopes, seen = torch.func.grad(tapped_loss(loss, layers, parameters, inputs, targets), has_aux=True)(zeros)
    return [
        (layer, layer.rows(slope) / loss.share(1), layer.extended(values))
        for layer, slope, values in zip(layers, slopes, seen, strict=True)
    ]
