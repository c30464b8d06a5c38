"""Gauss-Newton and Fisher matrices of a network's loss, and what the Hessian has beyond them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as tree

from workbench.curvature.layers.directional import Kind
from workbench.curvature.layers.structured import recognised, structured_matrix

from . import batches
from .empirical import EmpiricalLoss, known, named
from .flat import Loss, Parameters, flatten, pullback, size_of
from .hessian import hessian, require_dense
from .model import (
    Door,
    ExactOperations,
    agree,
    in_words,
    plain_kernels,
    probe,
    same_map,
    substituted,
    transformed,
    untouched,
)
from .per_sample import per_sample_gradients, require_square_range

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
    """Hessian = Gauss-Newton + residual, each [parameter, parameter]."""

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
    """
    return _matrix(loss, parameters, "gauss_newton")


def fisher(loss: Loss, parameters: Parameters) -> Float[Tensor, "parameter parameter"]:
    """The Fisher matrix: the gradient's second moment with targets drawn from the model, in the loss's own scale.

    For cross entropy (softmax and binary, from logits) and squared error it equals `gauss_newton` without weight decay
    (arXiv:1412.1193, section 9.2), and is computed so. The squared error counts as the likelihood it is proportional to.

    Raises:
        ValueError: another loss function, for which the model's distribution of targets is not known.
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
    """
    empirical = _empirical(loss)
    if empirical.reduction is None:
        raise ValueError(f"{empirical.coupling}: no per-sample gradients")
    return _matrix(loss, parameters, "empirical_fisher")


def decomposition(loss: Loss, parameters: Parameters) -> Decomposition:
    """The Hessian split into its Gauss-Newton part and the residual, which carries the model's own curvature.

    The residual is the sum over outputs of the loss's slope times the output's Hessian; it vanishes for models linear in
    their parameters and where the loss is stationary in the outputs.
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
    linearised = None if transformed() else _LinearisedModel(empirical, parameters)
    matrix = structured_matrix(empirical, parameters, kind, lambda v: linearised.product(v) if linearised else v)
    if matrix is not None:
        return matrix
    return _symmetric(_from_jacobian(empirical, parameters, linearised))


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


class _LinearisedModel:
    """J' L J at one point by plain autograd: J v from two reverse passes, so that it is the transpose of J' u."""

    def __init__(self, loss: EmpiricalLoss, parameters: Parameters) -> None:
        self.door, self.loss = Door(loss, parameters), loss
        door = self.door
        self.leaf = door.flat.detach().requires_grad_()
        self.tensors = named(door.unflatten(self.leaf))
        with door.open(), torch.enable_grad(), substituted(loss.model, self.tensors), ExactOperations(), self._words():
            outputs = batches.call(loss.model, loss.inputs)
            entries, shape = tree.tree_flatten(outputs)
            if not any(isinstance(entry, Tensor) for entry in entries):
                raise ValueError(
                    f"the model returns a {type(outputs).__name__}; the Gauss-Newton matrix needs tensors (or tuples, lists and "
                    "dicts of them), between which the loss function can be linearised"
                )
            self.outputs = [entry for entry in entries if isinstance(entry, Tensor) and entry.requires_grad]
            # What else a model returns (a cache of keys and values, say) is no output that the loss function may use.
            held = [_cut(entry) if isinstance(entry, Tensor) else entry for entry in entries]
            self.held = [entry for entry in held if isinstance(entry, Tensor) and entry.requires_grad]
            value = loss.loss_function(tree.tree_unflatten(held, shape), loss.targets)
            self._require_outputs_alone(value)
            self.slopes = torch.autograd.grad(value, self.held, create_graph=True, allow_unused=True)
            self.duals = [torch.zeros_like(entry, requires_grad=True) for entry in self.outputs]
            (self.pulled,) = torch.autograd.grad(self.outputs, self.leaf, self.duals, create_graph=True)
        if "transposed" not in loss.proofs:
            point = door.flat.detach()
            with door.open(), self._words():
                gradient = door.gradient_and_value(point)[0]
            door.require_true_gradient(gradient, point)
            self._require_transposed()
            loss.proofs["transposed"] = True

    def _require_transposed(self) -> None:
        vector, duals = probe(self.leaf), [probe(entry).reshape(entry.shape) for entry in self.outputs]
        moved = self._pull([self.pulled], self.duals, [vector])
        (back,) = self._pull(self.outputs, [self.leaf], duals)
        forward = sum((one * other).sum() for one, other in zip(moved, duals, strict=True))
        size = (
            sum(one.norm() * other.norm() for one, other in zip(moved, duals, strict=True))
            + back.norm() * vector.norm()
        )
        if bool((forward - back @ vector).abs() > 10 * torch.finfo(vector.dtype).eps ** 0.5 * size):
            raise ValueError(
                "the model's backward pass is not differentiable (an autograd.Function that detaches or runs the model again), "
                "so that its Jacobian times a vector is wrong; write it in differentiable torch operations"
            )

    def product(self, vector: Tensor, batched: bool = False) -> Tensor:
        """The matrix times a vector, or times every row of a block."""

        moved = self._pull([self.pulled], self.duals, [vector], batched)
        slopes = [
            torch.zeros_like(entry) if slope is None else slope
            for slope, entry in zip(self.slopes, self.held, strict=True)
        ]
        changed = self._pull(slopes, self.held, moved, batched)
        (result,) = self._pull(self.outputs, [self.leaf], changed, batched)
        return result + self.loss.weight_decay * vector

    def _pull(
        self, values: Sequence[Tensor], sources: Sequence[Tensor], cotangents: Sequence[Tensor], batched: bool = False
    ) -> list[Tensor]:
        used = [(value, vector) for value, vector in zip(values, cotangents, strict=True) if value.requires_grad]
        if not used:
            rows = [len(cotangents[0])] if batched else []
            return [entry.new_zeros(*rows, *entry.shape) for entry in sources]
        # The same operations where a checkpoint runs again.
        with self.door.open(), self.door.deriving(self.tensors), ExactOperations(), self._words():
            found = torch.autograd.grad(
                [value for value, _ in used],
                list(sources),
                [vector for _, vector in used],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
                is_grads_batched=batched,
            )
        return list(found)

    def _require_outputs_alone(self, value: Tensor) -> None:
        if not value.requires_grad:
            return
        (beside,) = torch.autograd.grad(value, self.leaf, retain_graph=True, allow_unused=True)
        if beside is not None:
            pieces = self.door.unflatten(beside)
            read = [name for name, piece in pieces.items() if bool(piece.any())] if isinstance(pieces, dict) else []
            raise ValueError(
                f"the loss function depends on the model's parameters beside its outputs ({', '.join(read[:6])}), through a "
                "penalty or an attribute that the forward pass leaves; Gauss-Newton and Fisher matrices are defined for "
                "losses of the outputs alone. A penalty |parameters|^2 belongs in weight_decay."
            )

    def _words(self) -> contextlib.AbstractContextManager:
        return in_words("the Gauss-Newton matrix", [self.loss.model], lambda: self.loss(self.loss.parameters()))


def _cut(entry: Tensor) -> Tensor:
    return entry.detach().requires_grad_(entry.requires_grad)


def _from_jacobian(loss: EmpiricalLoss, parameters: Parameters, plain: _LinearisedModel | None) -> Tensor:
    """Rows J' L J e, by a forward and a backward pass each: for any model, coupled samples included."""
    flat, unflatten = flatten(parameters)
    unit = torch.eye(flat.numel(), dtype=flat.dtype, device=flat.device)
    if plain is not None and loss.proofs.get("jacobian") is False:
        return _plain_rows(plain, unit)
    try:
        with untouched(loss.model), plain_kernels():
            rows = _transformed_rows(loss, flat, unflatten, unit)
    # pyrefly: ignore[unreachable-except-clause]
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        if plain is None:
            raise
        loss.proofs["jacobian"] = False
        return _plain_rows(plain, unit)
    if plain is not None and "jacobian" not in loss.proofs:
        vector = probe(flat)
        loss.proofs["jacobian"] = agree(rows @ vector, plain.product(vector))
        if not loss.proofs["jacobian"]:
            return _plain_rows(plain, unit)
    return rows


def _plain_rows(plain: _LinearisedModel, unit: Tensor) -> Tensor:
    try:
        rows = torch.cat([plain.product(block, batched=True) for block in unit.split(64)])
        if same_map(rows, unit, plain.product):
            return rows
    # pyrefly: ignore[unreachable-except-clause]
    except (RuntimeError, NotImplementedError, ValueError):
        pass
    return torch.stack([plain.product(vector) for vector in unit])


def _transformed_rows(loss: EmpiricalLoss, flat: Tensor, unflatten: Callable, unit: Tensor) -> Tensor:
    def outputs_of(vector: Tensor) -> Tensor:
        return loss.outputs(unflatten(vector))

    outputs, pull = pullback(outputs_of, flat)
    _, curve = pullback(torch.func.grad(lambda outputs: loss.loss_function(outputs, loss.targets)), outputs)

    def row(direction: Tensor) -> Tensor:
        moved = torch.func.jvp(outputs_of, (flat,), (direction,))[1]
        return pull(curve(moved)[0])[0]

    step = max(1, min(flat.numel(), _BLOCK_BYTES // (16 * outputs.numel() * flat.dtype.itemsize)))
    rows = torch.cat([torch.func.vmap(row)(unit[i : i + step]) for i in range(0, flat.numel(), step)])
    return rows + loss.weight_decay * unit
