"""Operations linear in each of two factors: products of matrices and of entries, convolutions; with a bias where they have one.

For y = x w + b: ẏ = ẋ w + x ẇ + ḃ; the changes of the gradients are ȳ˙ wᵀ + ȳ ẇᵀ, xᵀ ȳ˙ + ẋᵀ ȳ and the sum of ȳ˙.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .rules import Parts, Rule

aten = torch.ops.aten


class Multiplication(Protocol):
    """A bilinear map and its two transposes, each added to `total` where there is one already."""

    def forward(self, x: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor: ...
    def to_left(self, gradient: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor: ...
    def to_right(self, gradient: Tensor, x: Tensor, total: Tensor | None = None) -> Tensor: ...


class Matrices:
    """[i, j] times [j, k]."""

    def forward(self, x: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        return x @ w if total is None else total.addmm_(x, w)

    def to_left(self, gradient: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        return self.forward(gradient, w.mT, total)

    def to_right(self, gradient: Tensor, x: Tensor, total: Tensor | None = None) -> Tensor:
        return self.forward(x.mT, gradient, total)


class Batches(Matrices):
    """[b, i, j] times [b, j, k]."""

    def forward(self, x: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        return torch.bmm(x, w) if total is None else total.baddbmm_(x, w)


@dataclass
class Entries:
    """Entry by entry, broadcast from these two shapes."""

    left: torch.Size
    right: torch.Size

    def forward(self, x: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        return x * w if total is None else total.addcmul_(x, w)

    def to_left(self, gradient: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        if total is not None and gradient.shape == self.left:
            return total.addcmul_(gradient, w)
        product = (gradient * w).sum_to_size(self.left)
        return product if total is None else total.add_(product)

    def to_right(self, gradient: Tensor, x: Tensor, total: Tensor | None = None) -> Tensor:
        if total is not None and gradient.shape == self.right:
            return total.addcmul_(gradient, x)
        product = (gradient * x).sum_to_size(self.right)
        return product if total is None else total.add_(product)


class Convolution:
    """A convolution with these settings (stride, padding, dilation, transposed, output padding, groups).

    Of the factor that is not used, torch's transposes look at the shape.
    """

    def __init__(self, x: Tensor, w: Tensor, settings: Sequence[Any]) -> None:
        self.settings = list(settings)
        self.x, self.w = x, w

    def forward(self, x: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        found = aten.convolution(x, w, None, *self.settings)
        return found if total is None else total.add_(found)

    def to_left(self, gradient: Tensor, w: Tensor, total: Tensor | None = None) -> Tensor:
        found = aten.convolution_backward(gradient, self.x, w, None, *self.settings, [True, False, False])[0]
        return found if total is None else total.add_(found)

    def to_right(self, gradient: Tensor, x: Tensor, total: Tensor | None = None) -> Tensor:
        found = aten.convolution_backward(gradient, x, self.w, None, *self.settings, [False, True, False])[1]
        return found if total is None else total.add_(found)


class Bilinear(Rule):
    """x w + b, of which any may be constant: `places` says where left factor, right factor and bias stand among the inputs."""

    looks_at_inputs = partial = True

    def __init__(
        self,
        multiplication: Multiplication,
        left: Tensor,
        right: Tensor,
        places: tuple[int | None, int | None, int | None],
        bias: tuple[torch.Size, torch.Size] | None = None,
    ) -> None:
        """`bias` are its own shape and the one in which it is broadcast to the output's."""
        self.by, self.left, self.right, self.bias = multiplication, left, right, bias
        self.at_left, self.at_right, self.at_bias = places
        self.inputs = len({place for place in places if place is not None})

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        left, right, bias = (None if at is None else changes[at] for at in (self.at_left, self.at_right, self.at_bias))
        total = None if left is None else self.by.forward(left, self.right)
        if right is not None:
            total = self.by.forward(self.left, right, total)
        if bias is not None and self.bias is not None:
            change = bias.reshape(self.bias[1])
            total = change.expand(self.shape).clone() if total is None else total.add_(change)
        assert total is not None
        return total

    def meet(self, gradient: Tensor) -> None:
        self.gradient, self.shape = gradient, gradient.shape

    def pull(self, gradient: Tensor) -> Parts:
        return self._parts(gradient, None)

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        return self._parts(gradient, changes)

    def _parts(self, gradient: Tensor | None, changes: Parts | None) -> Parts:
        parts: list[Tensor | None] = [None] * self.inputs
        along_left = changes[self.at_left] if changes is not None and self.at_left is not None else None
        along_right = changes[self.at_right] if changes is not None and self.at_right is not None else None
        if self.at_left is not None:
            total = None if gradient is None else self.by.to_left(gradient, self.right)
            if along_right is not None:
                total = self.by.to_left(self.gradient, along_right, total)
            parts[self.at_left] = total
        if self.at_right is not None:
            total = None if gradient is None else self.by.to_right(gradient, self.left)
            if along_left is not None:
                total = self.by.to_right(self.gradient, along_left, total)
            twice = parts[self.at_right]
            parts[self.at_right] = total if twice is None else twice + total if total is not None else twice
        if self.at_bias is not None and self.bias is not None and gradient is not None:
            total = gradient.sum_to_size(self.bias[1]).reshape(self.bias[0])
            twice = parts[self.at_bias]
            parts[self.at_bias] = total if twice is None else twice + total
        return parts
