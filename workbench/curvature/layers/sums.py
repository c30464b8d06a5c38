"""Sums over samples from which the blocks of a curvature matrix are made, each a large matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import Matrix, outer, triangle, triangle_of_square
from .structure import Layer


class Sums:
    """Accumulates what samples contribute; `matrix` turns the sums into the result."""

    def __init__(self, layers: tuple[Layer, ...], parameters: dict[str, Tensor]) -> None:
        self.layers, self.parameters = layers, parameters
        self._packed: dict[int, Tensor] = {}
        self._pairs: dict[tuple[int, int], Tensor] = {}
        self._inflows: dict[tuple[int, int], Tensor] = {}
        self._elementwise: set[tuple[int, int]] = set()
        self._positions: dict[tuple[int, int], Tensor] = {}

    def add_square(self, index: int, second: Tensor, z: Tensor) -> None:
        """A layer of one position with itself: second derivatives [sample, a, a] and inputs [sample, i]."""
        _add(self._packed, index, triangle_of_square(z).mT @ triangle(second))

    def add_pair(self, later: int, earlier: int, second: Tensor, z_later: Tensor, z_earlier: Tensor) -> None:
        """Two layers of one position: second derivatives [sample, a, b] and both inputs."""
        _add(self._pairs, (later, earlier), second.flatten(1).mT @ outer(z_later, z_earlier))

    def add_inflow(self, later: int, earlier: int, gradient: Tensor, z_earlier: Tensor, inflow: Tensor) -> None:
        """Two layers of one position: the later tap's gradient [sample, a] times how its input changes with the earlier tap.

        That change is [sample, i, b], or [sample, b] where input i changes with tap i alone.
        """
        if inflow.ndim == 2:
            self._elementwise.add((later, earlier))
        _add(self._inflows, (later, earlier), outer(gradient, z_earlier).mT @ inflow.flatten(1))

    def add_positions(self, later: int, earlier: int, flow: Tensor, z_earlier: Tensor) -> None:
        """Layers of several positions, from the change of the later layer's per-sample gradient.

        `flow` is [position, b, sample, (a i)] for the earlier layer's taps, `z_earlier` [sample, position, j].
        """
        _add(self._positions, (later, earlier), torch.einsum("pbnx,npj->bxj", flow, z_earlier))

    def matrix(self) -> Tensor:
        like = next(iter((*self._packed.values(), *self._positions.values())))
        result = Matrix(like, self.layers, self.parameters)
        for index, packed in self._packed.items():
            result.write_packed(index, packed)
        for (later, earlier), total in self._positions.items():
            rows, columns = self.layers[later], self.layers[earlier]
            block = total.reshape(columns.width, rows.width, rows.columns, columns.columns)
            result.write(later, earlier, block.permute(1, 2, 0, 3))
        for (later, earlier), total in self._pairs.items():
            rows, columns = self.layers[later], self.layers[earlier]
            block = total.reshape(rows.width, columns.width, rows.columns, columns.columns).permute(0, 2, 1, 3)
            if (later, earlier) in self._inflows:
                block = block.contiguous()
                self._add_inflow(block[:, : rows.weight_columns], later, earlier)
            result.write(later, earlier, block)
        return result.value

    def _add_inflow(self, block: Tensor, later: int, earlier: int) -> None:
        rows, columns, total = self.layers[later], self.layers[earlier], self._inflows[later, earlier]
        if (later, earlier) in self._elementwise:
            total = total.reshape(rows.width, columns.columns, columns.width)
            block.diagonal(dim1=1, dim2=2).add_(total)
        else:
            total = total.reshape(rows.width, columns.columns, rows.weight_columns, columns.width)
            block.add_(total.permute(0, 2, 3, 1))


def _add(totals: dict, key: object, term: Tensor) -> None:
    if key in totals:
        totals[key].add_(term)
    else:
        totals[key] = term
