"""Derivatives with respect to taps along given directions, for any network of affine layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from workbench.curvature import batches
from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.flat import pullback
from workbench.curvature.model.traffic import runs_at_once

from .structure import Layer
from .sums import Sums
from .taps import run_with, tapped_loss, zero_taps

Kind = Literal["hessian", "gauss_newton", "empirical_fisher"]

_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class TapProducts:
    """What directions [k, *tap] of the first layer considered do to it and the layers after it.

    `gradients` [sample, *tap] and `inputs` per layer; `gradient_changes` [k, sample, *tap] per layer (curvature times
    direction); `input_changes` [k, sample, ...] for the layers after the first, empty unless `kind` is the Hessian.
    """

    gradients: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    gradient_changes: tuple[Tensor, ...]
    input_changes: tuple[Tensor, ...] = ()


def tap_products(
    loss: EmpiricalLoss,
    layers: tuple[Layer, ...],
    parameters: dict[str, Tensor],
    inputs: Any,
    targets: Any,
    kind: Kind,
    first: int,
    directions: Tensor,
) -> TapProducts:
    """Per-sample curvature with respect to the taps of layer `first` and later ones, times directions of the former."""
    evaluate = tapped_loss(loss, layers[first:], parameters, inputs, targets)
    zeros = zero_taps(loss, layers[first:], parameters, inputs)
    slopes = torch.func.grad(evaluate, has_aux=True)

    def everywhere(direction: Tensor) -> Tensor:
        return direction.expand_as(zeros[0])

    if kind == "hessian":
        # Reverse over reverse for the symmetric part and a plain forward derivative for the inputs: many operations
        # (mse_loss among them) have no forward derivative of their backward.
        def first_slopes(taps: tuple[Tensor, ...]):
            gradients, seen = slopes(taps)
            return gradients[0], (gradients, seen)

        _, pull_back, (gradients, seen) = torch.func.vjp(first_slopes, zeros, has_aux=True)  # pyrefly: ignore[bad-unpacking]

        def inputs_of(tap: Tensor) -> tuple[Tensor, ...]:
            return evaluate((tap, *zeros[1:]))[1][1:]

        def push(direction: Tensor):
            direction = everywhere(direction)
            changes = pull_back(direction)[0]
            return changes, torch.func.jvp(inputs_of, (zeros[0],), (direction,))[1] if len(zeros) > 1 else ()

        changes, moved = torch.func.vmap(push)(directions)
        return TapProducts(gradients, seen, changes, moved)

    gradients, seen = slopes(zeros)
    if kind == "empirical_fisher":
        # Per-sample gradients are those of the sum divided by the sample's share of it.
        along = torch.einsum("ns,ks->kn", gradients[0].flatten(1), directions.flatten(1)) / loss.share(1)
        changes = tuple(along.reshape(*along.shape, *[1] * (entry.ndim - 1)) * entry for entry in gradients)
        return TapProducts(gradients, seen, changes)

    def outputs_of(taps: tuple[Tensor, ...]) -> Tensor:
        return run_with(
            layers[first:], lambda: loss.outputs(parameters, inputs), lambda index, values: values + taps[index]
        )

    outputs, pull = pullback(outputs_of, zeros)

    def output_loss(outputs: Tensor) -> Tensor:
        return loss.loss_function(outputs, targets) * loss.share(batches.count("inputs", inputs))

    _, curve = pullback(torch.func.grad(output_loss), outputs)

    def gauss_newton(direction: Tensor):
        moved = torch.func.jvp(lambda tap: outputs_of((tap, *zeros[1:])), (zeros[0],), (everywhere(direction),))[1]
        return pull(curve(moved)[0])[0]

    return TapProducts(gradients, seen, torch.func.vmap(gauss_newton)(directions))


def directional_matrix(loss: EmpiricalLoss, parameters: dict[str, Tensor], kind: Kind) -> Tensor:
    """The curvature matrix [parameter, parameter] without weight decay, for any structure."""
    layers = loss.layers
    sums = Sums(layers, parameters)
    samples, block = _sizes(loss, next(iter(parameters.values())))
    for start in range(0, loss.samples, samples):
        inputs, targets = loss.some(slice(start, start + samples))
        for first, layer in enumerate(layers):
            _add_column(sums, loss, parameters, inputs, targets, kind, first, max(1, block[first] // layer.width))
    return sums.matrix()


def _add_column(sums, loss, parameters, inputs, targets, kind: Kind, first: int, positions: int) -> None:
    """Add what these samples contribute to the blocks of layer `first` with itself and with the later ones."""
    layers = loss.layers
    layer = layers[first]
    held: list[Tensor] = []
    run_with(
        layers[first : first + 1],
        lambda: loss.data_loss(parameters, inputs, targets),
        lambda index, values: (held.append(values.clone()), values)[1],
    )
    units = layer.unit_taps(held[0][:1])
    width = layer.width
    for position in range(0, layer.positions, positions):
        span = units[position * width : (position + positions) * width]
        products = tap_products(loss, layers, parameters, inputs, targets, kind, first, span)
        z_first = layer.extended(products.inputs[0])[:, position : position + positions]
        whole = layer.positions == 1
        for later in range(first, len(layers)):
            at = later - first
            other = layers[later]
            z = other.extended(products.inputs[at])
            change = torch.func.vmap(other.rows)(products.gradient_changes[at])
            moved = None
            if kind == "hessian" and later > first and other.weight:
                moved = products.input_changes[at - 1]
            if whole and other.positions == 1:
                second = change[:, :, 0].permute(1, 2, 0)
                if later == first:
                    sums.add_square(first, second, z[:, 0])
                    continue
                sums.add_pair(later, first, second, z[:, 0], z_first[:, 0])
                if moved is not None:
                    inflow = moved.flatten(2).permute(1, 2, 0)
                    sums.add_inflow(later, first, other.rows(products.gradients[at])[:, 0], z_first[:, 0], inflow)
                continue
            flow = torch.einsum("knta,nti->knai", change, z)
            if moved is not None:
                moved = torch.func.vmap(lambda value, other=other: other.extended(value, 0.0))(moved)
                flow = flow + torch.einsum("nta,knti->knai", other.rows(products.gradients[at]), moved)
            # Directions are position-major: [position, tap, sample, (a i)] against [sample, position, column].
            flow = flow.flatten(2).unflatten(0, (z_first.shape[1], width))
            sums.add_positions(later, first, flow, z_first)


def _sizes(loss: EmpiricalLoss, parameter: Tensor) -> tuple[int, list[int]]:
    """Samples per step and directions per product for each layer, from the size of what a direction changes."""
    layers = loss.layers
    itemsize = parameter.dtype.itemsize * runs_at_once(parameter)
    per_direction = [
        sum(
            layer.positions * (4 * layer.width + 2 * layer.columns) + layer.width * layer.columns
            for layer in layers[first:]
        )
        * itemsize
        for first in range(len(layers))
    ]
    least = max(per * layer.width for per, layer in zip(per_direction, layers, strict=True))
    samples = max(1, min(loss.samples, 256, _BLOCK_BYTES // least))
    return samples, [max(1, _BLOCK_BYTES // (per * samples)) for per in per_direction]
