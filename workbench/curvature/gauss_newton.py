"""Gauss-Newton and Fisher matrices of a network's loss, and what the Hessian has beyond them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench.curvature.layers.directional import Kind
from workbench.curvature.layers.structured import recognised, structured_matrix

from .empirical import EmpiricalLoss, known
from .flat import Loss, Parameters, size_of
from .hessian import hessian, require_dense
from .linearised_outputs import LinearisedModel, from_jacobian
from .model import (
    transformed,
)
from .samples.covariance import require_square_range
from .samples.gradients import per_sample_gradients

_BLOCK_BYTES = 64 * 2**20

# Losses that are negative log-likelihoods in the natural parameters of an exponential family (up to a factor), where the
# Fisher matrix equals the Gauss-Newton matrix (Martens, arXiv:1412.1193, section 9.2).
_LIKELIHOODS = (
    functional.cross_entropy,
    functional.mse_loss,
    functional.binary_cross_entropy_with_logits,
    nn.CrossEntropyLoss,
    nn.MSELoss,
    nn.BCEWithLogitsLoss,
)


class Decomposition(NamedTuple):
    """Hessian = Gauss-Newton + residual, each [parameter, parameter].

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> parts = wb.curvature.decomposition(loss, {'weight': torch.tensor([[2.0]])})
    >>> torch.equal(parts.hessian, parts.gauss_newton + parts.residual)
    True
    """

    hessian: Tensor
    gauss_newton: Tensor
    residual: Tensor


def gauss_newton(loss: Loss, parameters: Parameters) -> Float[Tensor, "parameter parameter"]:
    """The generalised Gauss-Newton matrix: the Hessian with the model replaced by its linearisation, J' L J.

    `loss` is an empirical loss (or the `loss` of a problem made from a network); weight decay, which is quadratic, counts
    in full. Exact to rounding, positive semi-definite when the loss function is convex in the outputs.

    Raises:
        ValueError: `loss` is another function, whose split into model and loss function is not known; or its loss function
            reads parameters of the model beside the outputs.
        workbench.memory.OutOfBudget: the dense matrix does not fit; raised before any work.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> wb.curvature.gauss_newton(loss, {'weight': torch.tensor([[2.0]])})
    tensor([[2.]])
    """
    return _matrix(loss, parameters, "gauss_newton")


def fisher(loss: Loss, parameters: Parameters) -> Float[Tensor, "parameter parameter"]:
    """The Fisher matrix: the gradient's second moment with targets drawn from the model, in the loss's own scale.

    For cross entropy (softmax and binary, from logits) and squared error it equals `gauss_newton` without weight decay
    (arXiv:1412.1193, section 9.2), and is computed so. The squared error counts as the likelihood it is proportional to.

    Raises:
        ValueError: another loss function, for which the model's distribution of targets is not known.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> wb.curvature.fisher(loss, {'weight': torch.tensor([[2.0]])})
    tensor([[2.]])
    """
    empirical = _empirical(loss)
    function = empirical.loss_function
    if function not in _LIKELIHOODS and not isinstance(function, _LIKELIHOODS[3:]):
        raise ValueError(
            f"the Fisher matrix needs a loss that is a likelihood, got {getattr(function, '__name__', function)!r}; "
            "known are cross_entropy, binary_cross_entropy_with_logits and mse_loss. gauss_newton takes any loss."
        )
    if getattr(function, "weight", None) is not None or getattr(function, "pos_weight", None) is not None:
        raise ValueError(
            "a loss with class weights is no likelihood: its Fisher matrix is not defined; drop the weights"
        )
    matrix = gauss_newton(empirical, parameters)
    matrix.diagonal(dim1=-2, dim2=-1).sub_(empirical.weight_decay)
    return matrix


def empirical_fisher(loss: Loss, parameters: Parameters) -> Float[Tensor, "parameter parameter"]:
    """Mean (or sum, as the loss combines samples) of the outer products of per-sample gradients, weight decay left out.

    Despite its name no estimate of the Fisher matrix (arXiv:1905.12558): it vanishes where every sample is fitted.

    Raises:
        ValueError: `loss` is not an empirical loss, or couples its samples so that per-sample gradients do not exist.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> wb.curvature.empirical_fisher(loss, {'weight': torch.tensor([[2.0]])})  # (2 w)^2, not the Fisher matrix
    tensor([[16.]])
    """
    empirical = _empirical(loss)
    if empirical.reduction is None:
        raise ValueError(f"{empirical.coupling}: no per-sample gradients")
    return _matrix(loss, parameters, "empirical_fisher")


def decomposition(loss: Loss, parameters: Parameters) -> Decomposition:
    """The Hessian split into its Gauss-Newton part and the residual, which carries the model's own curvature.

    The residual is the sum over outputs of the loss's slope times the output's Hessian; it vanishes for models linear in
    their parameters and where the loss is stationary in the outputs.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> wb.curvature.decomposition(loss, {'weight': torch.tensor([[2.0]])}).residual  # the model is linear
    tensor([[0.]])
    """
    full, part = hessian(loss, parameters), gauss_newton(loss, parameters)
    return Decomposition(full, part, full - part)


def _empirical(loss: Loss) -> EmpiricalLoss:
    found = recognised(loss)
    if found is None:
        raise ValueError(
            "this needs to know model and loss function apart; make the loss with "
            "empirical_loss(model, loss_function, inputs, targets)"
        )
    return found


def _matrix(loss: Loss, parameters: Parameters, kind: Kind) -> Tensor:
    empirical = _empirical(loss)
    require_dense(*size_of(parameters))
    empirical.check(parameters)
    if kind == "empirical_fisher":
        matrix = structured_matrix(empirical, parameters, kind, lambda v: _fisher_product(empirical, parameters, v))
        matrix = _symmetric(_from_gradients(empirical, parameters)) if matrix is None else matrix
        if known(torch.isfinite(matrix).all() & (matrix.abs().amax() >= torch.finfo(matrix.dtype).tiny)) is False:
            require_square_range(next(_gradient_blocks(empirical, parameters)))
        return matrix
    linearised = None if transformed() else LinearisedModel(empirical, parameters)
    matrix = structured_matrix(empirical, parameters, kind, lambda v: linearised.product(v) if linearised else v)
    if matrix is not None:
        return matrix
    return _symmetric(from_jacobian(empirical, parameters, linearised))


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) * 0.5


def _gradient_blocks(loss: EmpiricalLoss, parameters: Parameters) -> Iterator[Tensor]:
    size, dtype = size_of(parameters)
    step = max(1, _BLOCK_BYTES // (size * dtype.itemsize))
    for start in range(0, loss.samples, step):
        yield per_sample_gradients(loss.sample_loss, parameters, *loss.some(slice(start, start + step)))


def _fisher_product(loss: EmpiricalLoss, parameters: Parameters, vector: Tensor) -> Tensor:
    products = [rows.mT @ (rows @ vector) for rows in _gradient_blocks(loss, parameters)]
    return loss.share(1) * torch.stack(products).sum(0)


def _from_gradients(loss: EmpiricalLoss, parameters: Parameters) -> Tensor:
    total = functools.reduce(torch.add, (rows.mT @ rows for rows in _gradient_blocks(loss, parameters)))
    return total * loss.share(1)
