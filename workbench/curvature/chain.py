"""Curvature of multi-layer perceptrons: second derivatives with respect to the taps by recursion from the last layer.

With z' = e(h) elementwise between layers and h' = W z' + b, writing d for the loss's gradient with respect to h:
d = e'(h) (Wᵀ d'), S = diag(e') Wᵀ S' W diag(e') + diag(e'' Wᵀ d'), and for a later layer m: S_m = S'_m W diag(e').
(Bishop, Neural Computation 4, 1992, gives the same in scalar form.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .directional import Kind, tap_products
from .sums import Sums
from .taps import run_with
from .traffic import runs_at_once

if TYPE_CHECKING:
    from .empirical import EmpiricalLoss

# Largest temporary. The allocator keeps blocks up to 32 MB; beyond, every use pays for fresh pages.
_TEMPORARY_BYTES = 24 * 2**20


def chain_matrix(loss: EmpiricalLoss, parameters: dict[str, Tensor], kind: Kind) -> Tensor:
    """The curvature matrix [parameter, parameter] without weight decay, for a structure that is a chain."""
    chain = _Chain(loss, parameters, kind)
    step = samples_at_once(loss, next(iter(parameters.values())))
    for start in range(0, len(loss.inputs), step):
        chain.add(loss.inputs[start : start + step], loss.targets[start : start + step])
    return chain.sums.matrix()


def samples_at_once(loss: EmpiricalLoss, parameter: Tensor) -> int:
    """Samples per step, so that the largest temporary (a product of two layers' inputs or outputs) stays small."""
    layers = loss.layers
    widest = max(max(layer.width, layer.columns) for layer in layers)
    sample = widest**2 * parameter.dtype.itemsize * runs_at_once(parameter)
    # Below 16 samples the matrix products would be too thin to be fast.
    return min(len(loss.inputs), max(16, _TEMPORARY_BYTES // sample))


class _Chain:
    """The recursion over the layers, for some samples at a time."""

    def __init__(self, loss: EmpiricalLoss, parameters: dict[str, Tensor], kind: Kind) -> None:
        self.loss, self.parameters, self.kind = loss, parameters, kind
        self.layers = loss.layers
        self.sums = Sums(self.layers, parameters)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        layers, last = self.layers, len(self.layers) - 1
        values, slopes, bends = self._forward(inputs, targets)
        z = [layer.extended(value)[:, 0] for layer, value in zip(layers, values, strict=True)]
        unit = layers[last].unit_taps(self._held[last])
        changes = tap_products(self.loss, layers, self.parameters, inputs, targets, self.kind, last, unit)
        row = {last: changes.gradient_changes[0].flatten(2).movedim(0, 2)}
        inflow: dict[int, Tensor] = {}
        deltas = {last: changes.gradients[0].flatten(1)}
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
        layer = self.layers[index]
        return self.parameters[layer.weight] if layer.weight else layer.module.weight.detach()

    def _forward(self, inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Inputs of the layers, and slope and bend (first and second derivative) of what follows each but the last."""
        seen: list[Tensor] = []
        outputs: list[Tensor] = []

        def evaluate() -> Tensor:
            return self.loss.data_loss(self.parameters, inputs, targets)

        run_with(
            self.layers,
            evaluate,
            lambda index, values: (outputs.append(values), values)[1],
            lambda index, values: (seen.append(values), values)[1],
        )
        self._held = outputs

        def inputs_sum(held: tuple[Tensor, ...]) -> Tensor:
            inside: list[Tensor] = []
            run_with(
                self.layers,
                evaluate,
                lambda index, _: held[index] if index < len(held) else outputs[index],
                lambda index, values: (inside.append(values), values)[1],
            )
            return sum((entry.sum() for entry in inside[1:]), start=torch.zeros_like(seen[0][0]).sum())

        held = tuple(outputs[:-1])
        if not held:
            return seen, [], []
        slopes_of = torch.func.grad(inputs_sum)

        def slopes_sum(held: tuple[Tensor, ...]):
            slopes = slopes_of(held)
            return sum(slope.sum() for slope in slopes), slopes

        bends, slopes = torch.func.grad(slopes_sum, has_aux=True)(held)
        flat = [[entry.reshape(len(inputs), -1) for entry in entries] for entries in (slopes, bends)]
        return seen, flat[0], flat[1]
