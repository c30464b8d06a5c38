"""Gradients of single samples, and their norms, from the taps of a network's layers: one backward pass for a whole chunk.

The gradient of sample i in an affine layer's weight is the outer product of the loss's derivative with respect to the
layer's output (its tap) and the layer's input, summed over positions. Its norm needs neither to be formed ("ghost norm",
arXiv 1510.01799 for one position, arXiv 2009.03106 for convolutions).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.scales import power_of_two
from workbench.parameters import concrete

from .structure import Layer
from .taps import tapped_loss, zero_taps

_BLOCK_BYTES = 2**21
"""Unfolded inputs and gradients at a time: a convolution's patches are many times its input (measured: 1 to 4 MB alike)."""


def chunk_gradients(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Any, targets: Any, into: Tensor
) -> None:
    """Write the gradients of the samples' losses, without weight decay, into [sample, parameter]."""
    parts = dict(zip(parameters, into.split([entry.numel() for entry in parameters.values()], 1), strict=True))
    for layer, rows, slopes, columns in _blocks(loss, parameters, inputs, targets):
        if layer.weight:
            gradients = parts[layer.weight][rows].unflatten(1, (layer.width, -1))
            if layer.positions == 1:
                torch.mul(slopes.mT, columns, out=gradients)
            else:
                gradients.copy_(torch.bmm(slopes.mT, columns))
        if layer.bias:
            torch.sum(slopes, 1, out=parts[layer.bias][rows])


def chunk_square_norms(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Any, targets: Any
) -> tuple[Float[Tensor, " sample"], Float[Tensor, ""]]:
    """Squared norms of the gradients of the samples' losses, without weight decay, divided by the square of a scale; and it.

    A layer's gradient is formed only where that is the cheaper way.
    """
    totals: dict[Layer, list[Tensor]] = {}
    scale, usual = None, True
    for layer, _, slopes, columns in _blocks(loss, parameters, inputs, targets):
        if scale is None:
            scale = power_of_two(slopes)
            usual = concrete(scale) == 1
        slopes = slopes if usual else slopes / scale
        positions, width, inside = layer.positions, layer.width, layer.weight_columns
        squares = slopes.sum(1).square().sum(1) if layer.bias else slopes.new_zeros(len(slopes))
        if layer.weight and positions * (width + inside) <= width * inside:
            squares = squares + (torch.bmm(slopes, slopes.mT) * torch.bmm(columns, columns.mT)).sum((1, 2))
        elif layer.weight:
            squares = squares + torch.bmm(slopes.mT, columns).square().sum((1, 2))
        totals.setdefault(layer, []).append(squares)
    assert scale is not None
    return torch.stack([torch.cat(squares) for squares in totals.values()]).sum(0), scale


def _blocks(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Any, targets: Any
) -> Iterator[tuple[Layer, slice, Tensor, Tensor]]:
    """Every layer, some samples at a time: which, their output derivatives [sample, position, width] and inputs
    [sample, position, column].
    """
    assert loss.structure is not None
    layers = loss.structure.layers
    zeros = zero_taps(loss, layers, parameters, inputs)
    slopes, seen = torch.func.grad(tapped_loss(loss, layers, parameters, inputs, targets), has_aux=True)(zeros)
    for layer, slope, values in zip(layers, slopes, seen, strict=True):
        entries = layer.positions * (layer.weight_columns + layer.width) + layer.width * layer.weight_columns
        step = max(1, _BLOCK_BYTES // (entries * slope.dtype.itemsize))
        for start in range(0, len(slope), step):
            rows = slice(start, start + step)
            yield layer, rows, layer.rows(slope[rows]) / loss.share(1), layer.unfold(values[rows])
