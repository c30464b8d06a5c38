"""Products with J' L J, a model's loss as a function of its outputs linearised around one point, and its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from . import batches
from .empirical import EmpiricalLoss, named
from .flat import Parameters, flatten, pullback
from .model import (
    Door,
    ExactOperations,
    agree,
    in_words,
    plain_kernels,
    probe,
    same_map,
    substituted,
    untouched,
)

_BLOCK_BYTES = 64 * 2**20


class LinearisedModel:
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


def from_jacobian(loss: EmpiricalLoss, parameters: Parameters, plain: LinearisedModel | None) -> Tensor:
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


def _plain_rows(plain: LinearisedModel, unit: Tensor) -> Tensor:
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
