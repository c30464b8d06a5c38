"""Hessian-vector products of multi-layer perceptrons with everything that does not depend on the vector computed once.

Pearlmutter's recursion (Neural Computation 6, 1994) in the notation of `chain`, with a dot for the change along the vector:
    ḣ = Ẇ z + W ż + ḃ,  ż' = e'(h) ḣ,  ḋ = e'(h) (Wᵀ ḋ' + Ẇᵀ d') + e''(h) (Wᵀ d') ḣ,  and the product ḋ zᵀ + d żᵀ.
After the last layer ḋ is the loss's second derivative times ḣ. What remains are matrix products as large as they come:
all vectors beside each other, [sample, vector, unit].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.curvature.empirical import EmpiricalLoss

from .chain import chain_point, weight_of

_TEMPORARY_BYTES = 2**20
"""Largest temporary of a product: what a core keeps next to it (measured: 0.5 to 1 MB is best, 4 MB a tenth slower)."""
_POINT_BYTES = 24 * 2**20
"""Largest temporary when the point is computed: the second derivatives after the last layer and their batch."""


@dataclass(frozen=True)
class _Samples:
    """Of some samples: each layer's extended inputs, slopes e'(h), curves e''(h) Wᵀd', the loss's gradients d by layer and
    its second derivative after the last."""

    inputs: list[Tensor]
    slopes: list[Tensor]
    curves: list[Tensor]
    gradients: list[Tensor]
    second: Tensor

    def part(self, start: int, stop: int) -> _Samples:
        def cut(entries: list[Tensor]) -> list[Tensor]:
            return [entry[start:stop] for entry in entries]

        second = self.second[start:stop]
        return _Samples(cut(self.inputs), cut(self.slopes), cut(self.curves), cut(self.gradients), second)


class ChainProduct:
    """`product(block)` for a block of vectors [k, P], at the point given when it is made."""

    def __init__(self, loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> None:
        self.layers, self.decay = loss.layers, loss.weight_decay
        self.shapes = {name: entry.shape for name, entry in parameters.items()}
        self.weights = [weight_of(layer, parameters).contiguous() for layer in self.layers]
        entry = next(iter(parameters.values()))
        outputs = self.layers[-1].width
        step = max(16, _POINT_BYTES // (outputs**2 * entry.dtype.itemsize))
        self.parts = [
            self._point(loss, parameters, *loss.some(slice(start, start + step)))
            for start in range(0, loss.samples, step)
        ]

    def _point(self, loss, parameters, inputs: Tensor, targets: Tensor) -> _Samples:
        point = chain_point(loss, parameters, inputs, targets, "hessian")
        gradients, curves = [point.gradient], []
        for slope, bend, weight in zip(point.slopes[::-1], point.bends[::-1], self.weights[:0:-1], strict=True):
            back = gradients[0] @ weight
            curves.insert(0, bend * back)
            gradients.insert(0, slope * back)
        return _Samples(point.inputs, point.slopes, curves, gradients, point.second)

    def __call__(self, vectors: Float[Tensor, "k parameter"]) -> Float[Tensor, "k parameter"]:
        block = _Block(self, vectors)
        widest = max(weight.shape[0] for weight in self.weights)
        step = max(16, _TEMPORARY_BYTES // (block.count * widest * vectors.dtype.itemsize))
        for part in self.parts:
            for start in range(0, len(part.second), step):
                block.add(part.part(start, start + step))
        return block.result() + self.decay * vectors if self.decay else block.result()


class _Block:
    """One product with a block of vectors: their entries by layer, and sums of the result's over the samples.

    By layer: `directions` [column, vector * unit] (weights above bias, as the extended inputs want them), the weights
    alone as `backward` [unit, vector * column], and sums of the same shapes.
    """

    def __init__(self, product: ChainProduct, vectors: Tensor) -> None:
        self.product, self.count = product, len(vectors)
        entries = dict(zip(product.shapes, vectors.split([s.numel() for s in product.shapes.values()], 1), strict=True))
        self.directions, self.backward = [], []
        for layer in product.layers:
            rows = [entries[layer.weight].reshape(self.count, layer.width, -1)] if layer.weight else []
            self.backward.append(rows[0].transpose(0, 1).reshape(layer.width, -1) if rows else None)
            if layer.bias:
                rows.append(entries[layer.bias][:, :, None])
            self.directions.append(torch.cat(rows, 2).permute(2, 0, 1).reshape(layer.columns, -1))
        self.sums = [torch.zeros_like(entry) for entry in self.directions]
        self.cross = [None if entry is None else torch.zeros_like(entry) for entry in self.backward]

    def add(self, samples: _Samples) -> None:
        """Add what these samples contribute."""
        weights, last = self.product.weights, len(self.product.weights) - 1
        rows, k = len(samples.second), self.count
        outputs: list[Tensor] = []  # ḣ of every layer, [sample, vector, unit]
        inputs: list[Tensor] = []  # ż of every layer after the first
        for index, z in enumerate(samples.inputs):
            moved = (z @ self.directions[index]).view(rows, k, -1)
            if index:
                inputs.append(outputs[-1] * samples.slopes[index - 1][:, None])
                _add_product(moved, inputs[-1], weights[index])
            outputs.append(moved)
        change = torch.bmm(outputs[last], samples.second)  # ḋ
        for index in range(last, -1, -1):
            self.sums[index].addmm_(samples.inputs[index].mT, change.view(rows, -1))
            if not index:
                break
            slope, curve = samples.slopes[index - 1][:, None], samples.curves[index - 1][:, None]
            backward, cross, gradient = self.backward[index], self.cross[index], samples.gradients[index]
            if backward is None or cross is None:
                below = change.view(rows * k, -1) @ weights[index]
            else:
                cross.addmm_(gradient.mT, inputs[index - 1].view(rows, -1))
                below = (gradient @ backward).view(rows * k, -1).addmm_(change.view(rows * k, -1), weights[index])
            change = below.view(rows, k, -1).mul_(slope).addcmul_(curve, outputs[index - 1])

    def result(self) -> Tensor:
        """The products [vector, parameter]."""
        found = {}
        for layer, total, cross in zip(self.product.layers, self.sums, self.cross, strict=True):
            total = total.view(layer.columns, self.count, layer.width).permute(1, 2, 0)
            if layer.bias:
                found[layer.bias] = total[:, :, -1]
            if layer.weight:
                found[layer.weight] = total[:, :, : layer.weight_columns]
                if layer is not self.product.layers[0] and cross is not None:
                    cross = cross.view(layer.width, self.count, -1).transpose(0, 1)
                    found[layer.weight] = found[layer.weight] + cross
        return torch.cat([found[name].reshape(self.count, -1) for name in self.product.shapes], 1)


def _add_product(total: Tensor, left: Tensor, weight: Tensor) -> None:
    """total += left weightᵀ, over the last dimension. Few columns are turned (see `rewriting`)."""
    total, left = total.view(-1, total.shape[-1]), left.view(-1, left.shape[-1])
    if total.is_cpu and len(weight) < 16:
        total.add_((weight @ left.mT).mT)
    else:
        total.addmm_(left, weight.mT)
