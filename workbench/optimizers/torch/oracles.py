"""Gradients of a module or of a closure, as the rules ask for them (`workbench.optimizers.Oracle`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from workbench.parameters import Parameters, inner, tree_map

Closure = Callable[[], Tensor]
Batch = tuple[Tensor, ...]


class Packing:
    """A module's parameters as one vector, so that a rule's arithmetic costs a few operations instead of a few per tensor;
    as a dict where they differ in type or device.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        kinds = {(tensor.dtype, tensor.device) for tensor in tensors.values()}
        self._sizes = [tensor.numel() for tensor in tensors.values()] if len(kinds) == 1 else None

    def pack(self, values: dict[str, Tensor]) -> Parameters:
        if self._sizes is None:
            return values
        shapes = [tensor.shape for tensor in self.tensors.values()]
        runs = [value.shape[: value.dim() - len(shape)] for value, shape in zip(values.values(), shapes, strict=True)]
        return torch.cat([value.reshape(*one, -1) for value, one in zip(values.values(), runs, strict=True)], -1)

    def unpack(self, packed: Parameters) -> dict[str, Tensor]:
        if isinstance(packed, dict):
            return packed
        assert self._sizes is not None
        pieces, runs = packed.split(self._sizes, -1), packed.shape[:-1]
        return {n: piece.view(*runs, *t.shape) for (n, t), piece in zip(self.tensors.items(), pieces, strict=True)}

    def home(self) -> Parameters:
        """The parameters' own values."""
        return self.pack({name: tensor.detach() for name, tensor in self.tensors.items()})


class _LoopOracle:
    """What every oracle of somebody's own training loop has, and has not."""

    count: Tensor
    loss: Tensor | None = None
    """At the point of the first gradient: the undisplaced one, but for Nesterov (the look-ahead point) and for ascents that
    need no gradient there."""

    def random_direction(self, parameters: Parameters) -> Parameters:
        return tree_map(torch.randn_like, parameters)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        raise ValueError("an ascent along the full training gradient needs all samples; use wb.run, or ascent='own'")


class ClosureOracle(_LoopOracle):
    """Gradients of whatever the closure computes, at parameters written into the module for the time of the call."""

    def __init__(self, closure: Closure, packing: Packing, home: Parameters, count: Tensor) -> None:
        self._closure, self._packing, self._at_home, self.count = closure, packing, home, count
        self._tensors = packing.tensors
        self._home = {name: tensor.detach() for name, tensor in self._tensors.items()}

    def gradient(self, parameters: Parameters) -> Parameters:
        loss = self._evaluate(parameters)
        if any(tensor.grad is not None for tensor in self._tensors.values()):
            gradients = [tensor.grad for tensor in self._tensors.values()]
        else:
            gradients = torch.autograd.grad(loss, list(self._tensors.values()), allow_unused=True)
        return self._collect(gradients)

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        loss, tensors = self._evaluate(parameters), list(self._tensors.values())
        vectors = self._packing.unpack(vector).values()
        try:
            first = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
            product = sum((g * v).sum() for g, v in zip(first, vectors, strict=True) if g is not None)
            second = torch.autograd.grad(product, tensors, allow_unused=True)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise ValueError(
                "this rule needs Hessian-vector products: let the closure return the loss without calling backward()"
            ) from error
        return self._collect(second)

    def _evaluate(self, parameters: Parameters) -> Tensor:
        displaced = parameters is not self._at_home
        values = self._packing.unpack(parameters) if displaced else self._home
        for name, tensor in self._tensors.items():
            tensor.grad = None
            if displaced:
                # Pointing at the displaced values instead of copying them in and out keeps SAM near two gradients.
                tensor.data = values[name]
        try:
            with torch.enable_grad():
                loss = self._closure()
        finally:
            if displaced:
                for name, tensor in self._tensors.items():
                    tensor.data = self._home[name]
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            raise ValueError(f"the closure must return the loss as a 0-dim tensor, got {type(loss).__name__}")
        if self.loss is None:
            self.loss = loss.detach()
        return loss

    def _collect(self, gradients: Iterable[Tensor | None]) -> Parameters:
        collected = {}
        for (name, tensor), gradient in zip(self._tensors.items(), gradients, strict=True):
            collected[name] = torch.zeros_like(tensor) if gradient is None else _dense(name, gradient).detach()
            tensor.grad = None
        return self._packing.pack(collected)

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        raise ValueError("an ascent along the previous minibatch needs as_torch(rule, model, loss=...)")

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        raise ValueError(
            f"m-SAM with m={size} needs the samples of the minibatch: use as_torch(rule, model, loss=...) and "
            "optimizer.step(inputs, targets)"
        )

    group_gradients_at = group_gradients


class Transforms:
    """Gradients of `value(parameters, *batch)` by torch.func, which the compiler sees through."""

    def __init__(self, value: Callable[..., Tensor]) -> None:
        self._gradient_and_value = torch.func.grad_and_value(value)

    def gradient(self, parameters: Parameters, batch: Batch) -> tuple[Parameters, Tensor]:
        return self._gradient_and_value(parameters, *batch)

    def groups(self, parameters: Parameters, batches: Batch, shared: bool) -> tuple[Parameters, Tensor]:
        return torch.func.vmap(self._gradient_and_value, (None if shared else 0, 0, 0))(parameters, *batches)

    def product(self, parameters: Parameters, vector: Parameters, batch: Batch) -> Parameters:
        return torch.func.grad(lambda point: inner(self.gradient(point, batch)[0], vector))(parameters)


class Tape:
    """The same by autograd, with packed parameters: only the forward pass of groups goes through vmap, and each of its
    operations costs a third of what it costs under both transforms.
    """

    def __init__(self, value: Callable[..., Tensor], packing: Packing) -> None:
        self._value, self._packing = value, packing

    def gradient(self, parameters: Parameters, batch: Batch) -> tuple[Parameters, Tensor]:
        leaves = self._leaves(parameters)
        with torch.enable_grad():
            loss = self._value(leaves, *batch)
        return self._packing.pack(self._derivative(loss, leaves)), loss.detach()

    def groups(self, parameters: Parameters, batches: Batch, shared: bool) -> tuple[Parameters, Tensor]:
        groups = batches[0].shape[0]
        if shared:
            parameters = tree_map(lambda leaf: leaf.expand(groups, *leaf.shape), parameters)
        leaves = self._leaves(parameters)
        with torch.enable_grad():
            losses = torch.func.vmap(self._value)(leaves, *batches)
            total = losses.sum()
        return self._packing.pack(self._derivative(total, leaves)), losses.detach()

    def product(self, parameters: Parameters, vector: Parameters, batch: Batch) -> Parameters:
        leaves, along = self._leaves(parameters), self._packing.unpack(vector)
        with torch.enable_grad():
            first = self._derivative(self._value(leaves, *batch), leaves, create_graph=True)
            slope = inner(first, along)
        return self._packing.pack(self._derivative(slope, leaves))

    def _leaves(self, parameters: Parameters) -> dict[str, Tensor]:
        return {name: value.detach().requires_grad_() for name, value in self._packing.unpack(parameters).items()}

    @staticmethod
    def _derivative(value: Tensor, leaves: dict[str, Tensor], create_graph: bool = False) -> dict[str, Tensor]:
        if not value.requires_grad:
            return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        tensors = list(leaves.values())
        found = torch.autograd.grad(
            value, tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
        return {name: _dense(name, gradient) for name, gradient in zip(leaves, found, strict=True)}


def _dense(name: str, gradient: Tensor) -> Tensor:
    if gradient.layout != torch.strided:
        raise ValueError(f"parameter {name} of shape {tuple(gradient.shape)} has a sparse gradient; use sparse=False")
    return gradient


class SampleOracle(_LoopOracle):
    """Gradients of a module's loss on one minibatch."""

    def __init__(self, gradients: Transforms | Tape, batch: Batch, previous: Batch | None, count: Tensor) -> None:
        self._gradients, self._batch, self._previous, self.count = gradients, batch, previous, count

    def gradient(self, parameters: Parameters) -> Parameters:
        gradient, value = self._gradients.gradient(parameters, self._batch)
        self.loss = value if self.loss is None else self.loss
        return gradient

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        return self._gradients.gradient(parameters, self._batch if self._previous is None else self._previous)[0]

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        return self._gradients.product(parameters, vector, self._batch)

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        gradients, values = self._gradients.groups(parameters, self._groups(size), shared=True)
        self.loss = values.mean() if self.loss is None else self.loss
        return gradients

    def group_gradients_at(self, parameters: Parameters, size: int) -> Parameters:
        return self._gradients.groups(parameters, self._groups(size), shared=False)[0]

    def _groups(self, size: int) -> Batch:
        samples = self._batch[0].shape[0]
        if samples % size:
            raise ValueError(f"m must divide the minibatch size {samples}, got m={size}")
        return tuple(tensor.reshape(samples // size, size, *tensor.shape[1:]) for tensor in self._batch)
