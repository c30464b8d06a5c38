"""Normalisations: softmax, its logarithm, and entries of mean 0 and variance 1. Their first derivatives are symmetric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .rules import Parts, Rule

aten = torch.ops.aten


def row_sums(values: Tensor, dims: int = 1) -> Tensor:
    """Sums over the last dimensions, which are kept: as a matrix product, since torch's sums of short rows are slow."""
    shape = values.shape[: values.ndim - dims]
    rows = values.reshape(shape.numel(), -1)
    return (rows @ rows.new_ones(rows.shape[1], 1)).view(*shape, *(1,) * dims)


class Softmax(Rule):
    """y = softmax(x) along the last dimension: with t = u - <y, u>, f' u = y t = f'ᵀ u.

    The change of f'(x)ᵀ ȳ is y (s - <y, s>) with s = t ȳ, where t belongs to ẋ.
    """

    looks_at_output = True

    def __init__(self, output: Tensor) -> None:
        self.output = output

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        self.centred = self._centred(changes[0])
        return self.output * self.centred

    def _centred(self, vector: Tensor) -> Tensor:
        return vector - row_sums(self.output * vector)

    def meet(self, gradient: Tensor) -> None:
        self.gradient = self._centred(gradient)

    def pull(self, gradient: Tensor) -> Parts:
        return (self._centred(gradient).mul_(self.output),)

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        total = (
            self.centred * self.gradient if gradient is None else torch.addcmul(gradient, self.centred, self.gradient)
        )
        del self.centred
        return (total.sub_(row_sums(self.output * total)).mul_(self.output),)


class LogSoftmax(Rule):
    """y = x - log sum exp x, with p = exp y: f' u = u - <p, u>, its transpose u - p sum(u), whose change is -p ẏ sum(ȳ)."""

    looks_at_output = True

    def __init__(self, output: Tensor, dim: int) -> None:
        self.probabilities, self.dim = output.exp(), dim

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return changes[0] - (self.probabilities * changes[0]).sum(self.dim, keepdim=True)

    def meet(self, gradient: Tensor) -> None:
        self.curve = -self.probabilities * gradient.sum(self.dim, keepdim=True)

    def pull(self, gradient: Tensor) -> Parts:
        return (gradient - self.probabilities * gradient.sum(self.dim, keepdim=True),)

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        assert output is not None
        along = self.curve * output
        if gradient is not None:
            along += gradient
            along -= self.probabilities * gradient.sum(self.dim, keepdim=True)
        return (along,)


def normalise(values: Tensor, dims: int, eps: float) -> Tensor:
    """Mean 0 and variance 1 over the last `dims` dimensions."""
    return torch.native_layer_norm(values, values.shape[values.ndim - dims :], None, None, eps)[0]


class Normalise(Rule):
    """n = (x - mean) r with r = (variance + eps)^(-1/2): f' u = r (u - mean(u) - n mean(n u)).

    The change of f'(x) ȳ along ẋ is -r mean(n ẋ) f' ȳ - r mean(n ȳ) ṅ - n r mean(ẋ f' ȳ).
    """

    looks_at_inputs = looks_at_output = True

    def __init__(self, values: Tensor, dims: int, eps: float) -> None:
        self.values, self.dims = values, dims
        self.shape = list(values.shape[values.ndim - dims :])
        self.output, self.mean, self.rate = torch.native_layer_norm(values, self.shape, None, None, eps)
        self.scale = self.rate / values[(0,) * (values.ndim - dims)].numel()

    def _apply(self, vector: Tensor) -> Tensor:
        return aten.native_layer_norm_backward(
            vector, self.values, self.shape, self.mean, self.rate, None, None, [True, False, False]
        )[0]

    def _averaged(self, one: Tensor, other: Tensor) -> Tensor:
        return row_sums(one * other, self.dims).mul_(self.scale)

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return self._apply(changes[0])

    def meet(self, gradient: Tensor) -> None:
        self.pulled = self._apply(gradient)
        self.along = self._averaged(self.output, gradient)

    def pull(self, gradient: Tensor) -> Parts:
        return (self._apply(gradient),)

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        change = changes[0]
        assert change is not None and output is not None
        total = self.pulled * self._averaged(self.output, change)
        total.addcmul_(self.along, output).addcmul_(self.output, self._averaged(change, self.pulled))
        return (total.neg_() if gradient is None else self._apply(gradient).sub_(total),)
