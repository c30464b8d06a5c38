"""Exact curvature of networks from their layers, where the structure holds and pays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.flat import Loss, Parameters
from workbench.curvature.model import agree, plain_kernels, probe, same_map, transformed, untouched

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


def structured_matrix(
    loss: EmpiricalLoss, parameters: Parameters, kind: Kind, products: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """The Hessian, Gauss-Newton matrix or empirical Fisher matrix assembled from taps, exactly symmetric.

    Once for every loss and kind one product of it is compared with `products`, the same matrix times a vector by plain
    autograd; from then on it is trusted, or never used again.
    None where the structure does not hold, or where the network has so many taps (large feature maps) that one
    Hessian-vector product per parameter is cheaper.
    """
    structure = loss.structure
    if structure is None or not isinstance(parameters, dict) or loss.proofs.get(kind) is False:
        return None
    loss.check(parameters)
    if not structure.chain and kind == "hessian" and not _pays(loss, parameters):
        return None
    try:
        with untouched(loss.model), plain_kernels():
            # The layers' blocks need weight before bias and nothing else from the order: places are looked up by name.
            matrix = (chain_matrix if structure.chain else directional_matrix)(loss, parameters, kind)
    # pyrefly: ignore[unreachable-except-clause]
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        # An operation between the layers without forward derivative or batching rule.
        loss.proofs[kind] = False
        return None
    if loss.weight_decay and kind != "empirical_fisher":
        matrix.diagonal(dim1=-2, dim2=-1).add_(loss.weight_decay)
    if kind not in loss.proofs and not transformed():
        vector = probe(matrix[0])
        loss.proofs[kind] = agree(matrix @ vector, products(vector))
    return matrix if loss.proofs.get(kind, True) else None


def block_product(
    loss: Loss, parameters: Parameters, proven: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor] | None:
    """The Hessian times the rows of a block [k, P] for a multi-layer perceptron; None where it does not hold or pay.

    Prepared when first called, and then compared with the product `proven` on the first row. Not under transforms, nor for
    parameters somebody differentiates through.
    """
    empirical = recognised(loss)
    if empirical is None or not isinstance(parameters, dict) or transformed():
        return None
    structure = empirical.structure
    if structure is None or not structure.chain or structure.layers[-1].width > _WIDE_OUTPUTS:
        return None
    if empirical.proofs.get("block") is False:
        return None
    for entry in parameters.values():
        if entry.requires_grad and not isinstance(entry, torch.nn.Parameter):
            return None
    # A copy: training may go on before the first product.
    point = {name: entry.detach().clone() for name, entry in parameters.items()}
    prepared: list[ChainProduct] = []

    def product(block: Tensor) -> Tensor:
        # pyrefly: ignore[unnecessary-comparison]
        if empirical.proofs.get("block") is False or len(block) == 0:
            return torch.stack([proven(vector) for vector in block]) if len(block) else block
        if not prepared:
            prepared.append(ChainProduct(empirical, point))
        result = prepared[0](block)
        if "block" not in empirical.proofs:
            empirical.proofs["block"] = same_map(result, block, proven)
            return product(block)
        return result

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
