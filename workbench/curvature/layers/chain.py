"""Curvature of multi-layer perceptrons: second derivatives with respect to the taps by recursion from the last layer.

With z' = e(h) elementwise between layers and h' = W z' + b, writing d for the loss's gradient with respect to h:
d = e'(h) (Wᵀ d'), S = diag(e') Wᵀ S' W diag(e') + diag(e'' Wᵀ d'), and for a later layer m: S_m = S'_m W diag(e').
(Bishop, Neural Computation 4, 1992, gives the same in scalar form.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.model.traffic import runs_at_once

from .directional import Kind, tap_products
from .structure import Layer
from .sums import Sums
from .taps import run_with

# Largest temporary. The allocator keeps blocks up to 32 MB; beyond, every use pays for fresh pages.
_TEMPORARY_BYTES = 24 * 2**20


def chain_matrix(loss: EmpiricalLoss, parameters: dict[str, Tensor], kind: Kind) -> Tensor:
    """The curvature matrix [parameter, parameter] without weight decay, for a structure that is a chain."""
    chain = _Chain(loss, parameters, kind)
    step = samples_at_once(loss, next(iter(parameters.values())))
    for start in range(0, loss.samples, step):
        chain.add(*loss.some(slice(start, start + step)))
    return chain.sums.matrix()


def samples_at_once(loss: EmpiricalLoss, parameter: Tensor) -> int:
    """Samples per step, so that the largest temporary (a product of two layers' inputs or outputs) stays small."""
    layers = loss.layers
    widest = max(max(layer.width, layer.columns) for layer in layers)
    sample = widest**2 * parameter.dtype.itemsize * runs_at_once(parameter)
    # Below 16 samples the matrix products would be too thin to be fast.
    return min(loss.samples, max(16, _TEMPORARY_BYTES // sample))


class _Chain:
    """The recursion over the layers, for some samples at a time."""

    def __init__(self, loss: EmpiricalLoss, parameters: dict[str, Tensor], kind: Kind) -> None:
        self.loss, self.parameters, self.kind = loss, parameters, kind
        self.layers = loss.layers
        self.sums = Sums(self.layers, parameters)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        last = len(self.layers) - 1
        point = chain_point(self.loss, self.parameters, inputs, targets, self.kind)
        z, slopes, bends = point.inputs, point.slopes, point.bends
        row = {last: point.second}
        inflow: dict[int, Tensor] = {}
        deltas = {last: point.gradient}
        self._accumulate(last, row, z, deltas, inflow, slopes)
        for index in range(last - 1, -1, -1):
            weight = self._weight(index + 1)
            slope = slopes[index]
            back = deltas[index + 1] @ weight
            deltas[index] = slope * back
            if self.kind == "empirical_fisher":
                row = {at: deltas[at][:, :, None] * deltas[index][:, None, :] for at in range(index, last + 1)}
                row = {at: factor / self.loss.share(1) for at, factor in row.items()}
            else:
                square = weight.mT @ row[index + 1] @ weight
                square = slope[:, :, None] * square * slope[:, None, :]
                if self.kind == "hessian":
                    square = square + torch.diag_embed(bends[index] * back)
                row = {at: (factor @ weight) * slope[:, None, :] for at, factor in row.items()}
                row[index] = square
                if self.kind == "hessian":
                    inflow = self._inflow(index, last, slopes)
            self._accumulate(index, row, z, deltas, inflow, slopes)

    def _inflow(self, index: int, last: int, slopes: list[Tensor]) -> dict[int, Tensor]:
        """Derivative of the inputs of layers beyond the next with respect to this layer's tap, [sample, input, tap]."""
        result: dict[int, Tensor] = {}
        for at in range(index + 2, last + 1):
            weight = self._weight(at - 1)
            through = weight * slopes[index][:, None, :] if at == index + 2 else weight @ result[at - 1]
            result[at] = slopes[at - 1][:, :, None] * through
        return result

    def _accumulate(self, index: int, row: dict[int, Tensor], z, deltas, inflow, slopes) -> None:
        for at, factor in row.items():
            if at == index:
                self.sums.add_square(index, factor, z[index])
                continue
            self.sums.add_pair(at, index, factor, z[at], z[index])
            if self.kind == "hessian" and self.layers[at].weight:
                # The next layer's input is elementwise in this one's output.
                change = slopes[index] if at == index + 1 else inflow[at]
                self.sums.add_inflow(at, index, deltas[at], z[index], change)

    def _weight(self, index: int) -> Tensor:
        return weight_of(self.layers[index], self.parameters)


def weight_of(layer: Layer, parameters: dict[str, Tensor]) -> Tensor:
    """A layer's weight [unit, column], whether trainable or frozen."""
    return (parameters[layer.weight] if layer.weight else layer.module.weight.detach()).flatten(1)


@dataclass(frozen=True)
class ChainPoint:
    """What a chain's derivatives at one point are made of.

    `inputs` [sample, column] of every layer, extended by a 1 for the bias; `slopes` and `bends` [sample, unit], first and
    second derivative of what follows each layer but the last; the loss's `gradient` [sample, output] and `second`
    derivative [sample, output, output] with respect to the last layer's output.
    """

    inputs: list[Tensor]
    slopes: list[Tensor]
    bends: list[Tensor]
    gradient: Tensor
    second: Tensor


def chain_point(
    loss: EmpiricalLoss, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor, kind: Kind
) -> ChainPoint:
    """One forward pass, and the derivatives between the layers and after the last."""
    layers, last = loss.layers, len(loss.layers) - 1
    seen: list[Tensor] = []
    outputs: list[Tensor] = []

    def evaluate() -> Tensor:
        return loss.data_loss(parameters, inputs, targets)

    run_with(
        layers,
        evaluate,
        # A copy: an activation in place may follow.
        lambda index, values: (outputs.append(values.clone()), values)[1],
        lambda index, values: (seen.append(values), values)[1],
    )

    def inputs_sum(held: tuple[Tensor, ...]) -> Tensor:
        inside: list[Tensor] = []
        run_with(
            layers,
            evaluate,
            lambda index, _: (held[index] if index < last else outputs[index]).clone(),
            lambda index, values: (inside.append(values), values)[1],
        )
        return sum((entry.sum() for entry in inside[1:]), start=torch.zeros_like(seen[0][0]).sum())

    slopes_of = torch.func.grad(inputs_sum)

    def slopes_sum(held: tuple[Tensor, ...]):
        slopes = slopes_of(held)
        return sum(slope.sum() for slope in slopes), slopes

    bends, slopes = torch.func.grad(slopes_sum, has_aux=True)(tuple(outputs[:-1])) if last else ((), ())
    unit = layers[last].unit_taps(outputs[last])
    changes = tap_products(loss, layers, parameters, inputs, targets, kind, last, unit)
    return ChainPoint(
        [layer.extended(value)[:, 0] for layer, value in zip(layers, seen, strict=True)],
        [slope.reshape(len(slope), -1) for slope in slopes],
        [bend.reshape(len(bend), -1) for bend in bends],
        changes.gradients[0].flatten(1),
        changes.gradient_changes[0].flatten(2).movedim(0, 2),
    )
