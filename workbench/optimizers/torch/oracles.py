"""Gradients of a module or of a closure, as the rules ask for them (`workbench.optimizers.Oracle`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.optimizers.oracle import Moment, NotProvided, Oracle, Side, Source
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


class _LoopOracle(Oracle):
    """What every oracle of somebody's own training loop has, and has not."""

    seen: Tensor | None = None
    """The loss at the point of the first gradient: the undisplaced one, but for Nesterov (the look-ahead point) and for ascents
    that need no gradient there."""

    @property
    def full(self) -> Oracle:
        raise NotProvided("the gradient over all samples", "a training loop shows one batch at a time; use wb.run")


@dataclass(frozen=True, eq=False)
class ClosureSource(Source):
    """Gradients of whatever a closure computes."""

    closure: Closure
    packing: Packing
    home: Parameters

    def oracle(self, moment: Moment) -> ClosureOracle:
        return ClosureOracle(self, moment)


class ClosureOracle(_LoopOracle):
    """Gradients of whatever the closure computes, at parameters written into the module for the time of the call."""

    def __init__(self, source: ClosureSource, moment: Moment) -> None:
        self.source, self.moment = source, moment
        self._closure, self._packing, self._at_home = source.closure, source.packing, source.home
        self._tensors = self._packing.tensors
        self._home = {name: tensor.detach() for name, tensor in self._tensors.items()}

    def gradient(self, x: Parameters) -> Parameters:
        loss = self._evaluate(x)
        if any(tensor.grad is not None for tensor in self._tensors.values()):
            gradients = [tensor.grad for tensor in self._tensors.values()]
        else:
            gradients = torch.autograd.grad(loss, list(self._tensors.values()), allow_unused=True)
        return self._collect(gradients)

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        loss, tensors = self._evaluate(x), list(self._tensors.values())
        vectors = self._packing.unpack(v).values()
        try:
            first = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
            product = sum((g * along).sum() for g, along in zip(first, vectors, strict=True) if g is not None)
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
        if self.seen is None:
            self.seen = loss.detach()
        return loss

    def _collect(self, gradients: Iterable[Tensor | None]) -> Parameters:
        collected = {}
        for (name, tensor), gradient in zip(self._tensors.items(), gradients, strict=True):
            collected[name] = torch.zeros_like(tensor) if gradient is None else _dense(name, gradient).detach()
            tensor.grad = None
        return self._packing.pack(collected)

    def loss(self, x: Parameters) -> Tensor:
        return self._evaluate(x).detach()

    @property
    def previous(self) -> Oracle:
        raise NotProvided(
            "the previous step's samples", "a closure does not show them; use as_torch(rule, model, loss=...)"
        )

    def fresh(self, name: str) -> Oracle:
        raise NotProvided("fresh samples", "a training loop shows one batch at a time; use wb.run")

    def groups(self, size: int) -> Side:
        raise NotProvided(
            f"groups of m = {size} samples",
            "a closure does not show them; use as_torch(rule, model, loss=...) and optimizer.step(inputs, targets)",
        )


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


@dataclass(frozen=True, eq=False)
class ModuleBatch(Source):
    """Gradients of a module's loss on one minibatch; `before` is the one of the step before."""

    gradients: Transforms | Tape
    batch: Batch
    before: Batch | None = None

    def oracle(self, moment: Moment) -> ModuleOracle:
        return ModuleOracle(self, moment)


class ModuleOracle(_LoopOracle):
    """Gradients of a module's loss on one minibatch."""

    def __init__(self, source: ModuleBatch, moment: Moment) -> None:
        self.source, self.moment = source, moment
        self._gradients, self._batch, self._before = source.gradients, source.batch, source.before

    def gradient(self, x: Parameters) -> Parameters:
        gradient, value = self._gradients.gradient(x, self._batch)
        self.seen = value if self.seen is None else self.seen
        return gradient

    def loss(self, x: Parameters) -> Tensor:
        return self._gradients.gradient(x, self._batch)[1]

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return self._gradients.product(x, v, self._batch)

    @property
    def previous(self) -> Oracle:
        before = self._batch if self._before is None else self._before
        return ModuleOracle(ModuleBatch(self._gradients, before), self.moment)

    def fresh(self, name: str) -> Oracle:
        raise NotProvided("fresh samples", "a training loop shows one batch at a time; use wb.run")

    def groups(self, size: int) -> Side:
        samples = self._batch[0].shape[0]
        if samples % size:
            raise NotProvided(
                f"groups of m = {size} samples",
                f"m must divide the number of samples in a step, {samples}, got m={size}",
            )
        batches = tuple(tensor.reshape(samples // size, size, *tensor.shape[1:]) for tensor in self._batch)
        return _ModuleGroups(self, self._gradients, batches)


class _ModuleGroups:
    def __init__(self, oracle: ModuleOracle, gradients: Transforms | Tape, batches: Batch) -> None:
        self.count, self._oracle, self._gradients, self._batches = batches[0].shape[0], oracle, gradients, batches

    def gradients(self, x: Parameters) -> Parameters:
        gradients, values = self._gradients.groups(x, self._batches, shared=True)
        self._oracle.seen = values.mean() if self._oracle.seen is None else self._oracle.seen
        return gradients

    def gradients_at(self, xs: Parameters) -> Parameters:
        return self._gradients.groups(xs, self._batches, shared=False)[0]
