"""Exact curvature of networks from their layers, where the structure holds and pays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.flat import Loss, Parameters

from .chain import chain_matrix
from .chain_products import ChainProduct
from .directional import Kind, directional_matrix

_WIDE_OUTPUTS = 32
"""With more outputs the second derivatives after the last layer, one matrix per sample, cost what they save."""


def recognised(loss: Loss) -> EmpiricalLoss | None:
    """The empirical loss behind `loss`: itself, or the `empirical` of the problem whose `loss` method it is."""
    if isinstance(loss, EmpiricalLoss):
        return loss
    owner = getattr(loss, "__self__", None)
    behind = getattr(owner, "empirical", None)
    return behind if isinstance(behind, EmpiricalLoss) and getattr(loss, "__name__", "") == "loss" else None


def structured_matrix(loss: EmpiricalLoss, parameters: Parameters, kind: Kind) -> Tensor | None:
    """The Hessian, Gauss-Newton matrix or empirical Fisher matrix assembled from taps, exactly symmetric.

    None where the structure does not hold, or where the network has so many taps (large feature maps) that one
    Hessian-vector product per parameter is cheaper.
    """
    structure = loss.structure
    if structure is None or not isinstance(parameters, dict):
        return None
    loss.check(parameters)
    if not structure.chain and kind == "hessian" and not _pays(loss, parameters):
        return None
    # The layers' blocks need weight before bias and nothing else from the order: places are looked up by name.
    build = chain_matrix if structure.chain else directional_matrix
    matrix = build(loss, parameters, kind)
    if loss.weight_decay and kind != "empirical_fisher":
        matrix.diagonal(dim1=-2, dim2=-1).add_(loss.weight_decay)
    return matrix


def block_product(loss: Loss, parameters: Parameters) -> Callable[[Tensor], Tensor] | None:
    """The Hessian times the rows of a block [k, P] for a multi-layer perceptron; None where it does not hold or pay.

    Prepared when first called. Not under transforms, nor for parameters somebody differentiates through.
    """
    empirical = recognised(loss)
    if empirical is None or not isinstance(parameters, dict):
        return None
    structure = empirical.structure
    if structure is None or not structure.chain or structure.layers[-1].width > _WIDE_OUTPUTS:
        return None
    for entry in parameters.values():
        followed = entry.requires_grad and not isinstance(entry, torch.nn.Parameter)
        if followed or torch._C._functorch.is_functorch_wrapped_tensor(entry):
            return None
    # A copy: training may go on before the first product.
    point = {name: entry.detach().clone() for name, entry in parameters.items()}
    prepared: list[ChainProduct] = []

    def product(block: Tensor) -> Tensor:
        if not prepared:
            prepared.append(ChainProduct(empirical, point))
        return prepared[0](block)

    return product


def _pays(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> bool:
    """Whether taps take fewer operations per sample than Hessian-vector products with every unit vector.

    A product costs about six forward passes, a direction about four of them and the assembly of its blocks, whose small
    matrix products take about twice as long per operation (measured: even at 0.5 to 0.7, 2.4 times faster at 0.16).
    """
    layers = loss.layers
    forward = [2 * layer.positions * layer.width * layer.module.weight[0].numel() for layer in layers]
    products = 6 * sum(forward) * sum(entry.numel() for entry in parameters.values())
    taps = 0
    for first, layer in enumerate(layers):
        directions = layer.positions * layer.width
        for at in range(first, len(layers)):
            entries = layers[at].width * layers[at].columns
            taps += directions * (4 * forward[at] + 4 * layers[at].positions * entries + 2 * entries * layer.columns)
    return taps < 0.5 * products
