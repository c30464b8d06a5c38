"""A module's affine layers: how their weights, inputs and outputs are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine layer with trainable parameters: `weight` and `bias` are their names, None where there is none."""

    module: nn.Linear | nn.Conv2d
    weight: str | None
    bias: str | None
    positions: int
    width: int

    @property
    def columns(self) -> int:
        """Length of the extended input: what one output's parameters multiply."""
        return self.weight_columns + (self.bias is not None)

    @property
    def weight_columns(self) -> int:
        return self.module.weight[0].numel() if self.weight else 0

    def rows(self, values: Tensor) -> Tensor:
        """The layer's output (or a derivative with respect to it) [sample, ...] as [sample, position, width]."""
        if isinstance(self.module, nn.Conv2d):
            return values.flatten(2).mT
        return values.reshape(values.shape[0], self.positions, self.width)

    def unit_taps(self, like: Tensor) -> Tensor:
        """One unit tap per position and unit, position-major, [position * width, *output]: a batch of directions."""
        count = self.positions * self.width
        unit = torch.eye(count, dtype=like.dtype, device=like.device)
        if isinstance(self.module, nn.Conv2d):
            unit = unit.reshape(count, self.positions, self.width).mT
        return unit.reshape(count, *like.shape[1:])

    def unfold(self, values: Tensor) -> Tensor:
        """What multiplies the weight at each position: the layer's input [sample, ...] as [sample, position, column]."""
        module = self.module
        if not isinstance(module, nn.Conv2d):
            return values.reshape(values.shape[0], self.positions, -1)
        padding = cast("tuple[int, ...]", module.padding)
        patches = functional.unfold(values, module.kernel_size, module.dilation, padding, module.stride)
        return patches.mT

    def extended(self, values: Tensor, one: float = 1.0) -> Tensor:
        """The unfolded input with a column for the bias (0 instead of 1 for a derivative), [sample, position, column]."""
        parts = [self.unfold(values)] if self.weight else []
        if self.bias:
            parts.append(values.new_full((values.shape[0], self.positions, 1), one))
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True, eq=False)
class Structure:
    """A module's affine layers in the order in which they run.

    `chain` says that all have a single position and that each one's input is an elementwise function of the previous
    one's output (a multi-layer perceptron), through which alone the loss sees it.
    """

    layers: tuple[Layer, ...]
    chain: bool
