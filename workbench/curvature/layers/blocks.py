"""Assembling a curvature matrix over parameters from per-sample derivatives with respect to taps.

Row (a, i) of a layer is the parameter that multiplies column i of its extended input for output a. A block between two
layers is a sum over samples of `S[a, b] z[i] z[j]`, one large matrix product, plus what comes from the later layer's input
depending on the earlier tap. On the diagonal both factors are symmetric and only their triangles are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .structure import Layer


def triangle(factor: Tensor) -> Tensor:
    """Upper triangles of symmetric matrices [sample, a, a] as vectors [sample, pair], row after row."""
    size = factor.shape[-1]
    return torch.cat([factor[:, row, row:] for row in range(size)], dim=1)


def triangle_of_square(vectors: Tensor) -> Tensor:
    """`triangle` of the outer product of [sample, i] with itself, without forming the other half."""
    size = vectors.shape[-1]
    return torch.cat([vectors[:, row : row + 1] * vectors[:, row:] for row in range(size)], dim=1)


def pair_numbers(size: int, device: torch.device) -> Tensor:
    """Where entry (row, column) of a symmetric matrix lies in its `triangle`, [size, size]."""
    rows, columns = torch.triu_indices(size, size, device=device)
    numbers = torch.empty(size, size, dtype=torch.long, device=device)
    numbers[rows, columns] = torch.arange(len(rows), device=device)
    numbers[columns, rows] = numbers[rows, columns]
    return numbers


def outer(left: Tensor, right: Tensor) -> Tensor:
    """[sample, a] and [sample, b] as [sample, a * b]."""
    return (left[:, :, None] * right[:, None, :]).flatten(1)


@dataclass(frozen=True)
class Places:
    """Where each layer's weight and bias lie in the ravelled parameters; None where they are not among them."""

    weights: tuple[int | None, ...]
    biases: tuple[int | None, ...]

    @classmethod
    def of(cls, layers: tuple[Layer, ...], parameters: dict[str, Tensor]) -> Places:
        starts, position = {}, 0
        for name, entry in parameters.items():
            starts[name] = position
            position += entry.numel()
        return cls(
            tuple(starts[layer.weight] if layer.weight else None for layer in layers),
            tuple(starts[layer.bias] if layer.bias else None for layer in layers),
        )


class Matrix:
    """The symmetric result [parameter, parameter], written block by block."""

    def __init__(self, like: Tensor, layers: tuple[Layer, ...], parameters: dict[str, Tensor]) -> None:
        size = sum(entry.numel() for entry in parameters.values())
        # Made from a tensor of the computation, so that under vmap it has the runs' dimension too.
        self.value = like.new_empty(size, size)
        self.layers = layers
        self.places = Places.of(layers, parameters)

    def _view(self, row: int, rows: int, column: int, columns: int) -> Tensor:
        return self.value[row : row + rows, column : column + columns]

    def _parts(self, index: int) -> list[tuple[int, slice, int]]:
        """(start, columns of the extended input, their number) of the layer's weight and of its bias."""
        count = self.layers[index].weight_columns
        weight, bias = self.places.weights[index], self.places.biases[index]
        parts = [] if weight is None else [(weight, slice(0, count), count)]
        if bias is not None:
            parts.append((bias, slice(count, count + 1), 1))
        return parts

    def write_packed(self, index: int, packed: Tensor) -> None:
        """A diagonal block from its [input pair, output pair] sums."""
        width, columns = self.layers[index].width, self.layers[index].columns
        inputs = pair_numbers(columns, packed.device)
        outputs = pair_numbers(width, packed.device).reshape(-1)
        for start, part, count in self._parts(index):
            for i in range(part.start, part.stop):
                # One input column at a time stays in the caches: [column, output pair] -> [output, output, column].
                rows = packed.index_select(0, inputs[i]).mT.contiguous()
                block = rows.index_select(0, outputs).unflatten(0, (width, width))
                for other, span, number in self._parts(index):
                    target = self._view(start, width * count, other, width * number)
                    target = target.unflatten(1, (width, number)).unflatten(0, (width, count))
                    target[:, i - part.start] = block[:, :, span]

    def write(self, later: int, earlier: int, block: Tensor) -> None:
        """A block [a, i, b, j] between two different layers, and its transpose; or a diagonal block, symmetrised."""
        if later == earlier:
            block = (block + block.permute(2, 3, 0, 1)) * 0.5
        rows, columns = self.layers[later].width, self.layers[earlier].width
        for start, part, count in self._parts(later):
            for other, span, number in self._parts(earlier):
                target = self._view(start, rows * count, other, columns * number)
                target.copy_(block[:, part, :, span].reshape(rows * count, columns * number))
                if later != earlier:
                    self._view(other, columns * number, start, rows * count).copy_(target.mT)
