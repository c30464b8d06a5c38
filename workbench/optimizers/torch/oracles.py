"""Where a rule's gradients come from in somebody's own training loop: a closure, or a module with its loss on a minibatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from workbench.optimizers.oracle import Moment, NotProvided, Oracle, SampleSide, Source
from workbench.optimizers.torch.functional import Functional
from workbench.optimizers.torch.minibatches import Batch, in_groups, rows
from workbench.optimizers.torch.passes import Passes
from workbench.parameters import Parameters

NO_REPLICAS = (
    "second derivatives are not averaged over the processes of DistributedDataParallel; use a rule that needs gradients alone, "
    "such as sam"
)


class LoopOracle(Oracle):
    """What every oracle of somebody's own training loop has, and has not."""

    @property
    def full(self) -> Oracle:
        raise NotProvided("the gradient over all samples", "a training loop shows one batch at a time; use wb.run")

    def fresh(self, name: str) -> Oracle:
        raise NotProvided("fresh samples", "a training loop shows one batch at a time; use wb.run")

    @property
    def previous_or_same(self) -> Oracle:
        return self.previous


@dataclass(eq=False)
class Seen:
    """The loss at the point of a step's first gradient: the undisplaced one, but for Nesterov (the look-ahead point) and for
    ascents that need no gradient there.
    """

    loss: Tensor | None = None

    def note(self, loss: Tensor) -> None:
        self.loss = loss if self.loss is None else self.loss


@dataclass(frozen=True, eq=False)
class ClosureSource(Source):
    """Gradients of whatever a closure computes."""

    closure: Callable[[], Tensor]
    passes: Passes
    seen: Seen = field(default_factory=Seen)

    def oracle(self, moment: Moment) -> ClosureOracle:
        return ClosureOracle(self, moment, self.closure)


class ClosureOracle(LoopOracle):
    """Gradients of whatever the closure computes, with the displaced weights in the module."""

    def __init__(
        self, source: ClosureSource | ModuleBatch, moment: Moment, closure: Callable[[], Tensor], own: bool = True
    ) -> None:
        self.source, self.moment = source, moment
        self._closure, self._passes, self._seen, self._own = closure, source.passes, source.seen, own

    def gradient(self, x: Parameters) -> Parameters:
        with self._passes.opened(changes_buffers=self._own):
            gradient, loss = self._passes.gradient(self._closure, x)  # type: ignore[arg-type]
        if self._own:
            self._seen.note(loss)
        return gradient

    def loss(self, x: Parameters) -> Tensor:
        with self._passes.opened(changes_buffers=False):
            return self._passes.value(self._closure, x)  # type: ignore[arg-type]

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        with self._passes.opened(changes_buffers=False, refuse_replicas=NO_REPLICAS):
            return self._passes.product(self._closure, x, v)  # type: ignore[arg-type]

    def tensors(self, x: Parameters) -> dict[str, Tensor]:
        """By their place in the optimizer's list: a closure shows no names."""
        return {str(place): piece for place, piece in enumerate(self._passes.packing.unpack(x))}  # type: ignore[arg-type]

    def joined(self, tensors: dict[str, Tensor]) -> Parameters:
        return self._passes.packing.pack(list(tensors.values()))

    @property
    def previous(self) -> Oracle:
        raise NotProvided(
            "the previous step's samples", "a closure does not show them; use as_torch(rule, model, loss=...)"
        )

    def groups(self, size: int) -> SampleSide:
        raise NotProvided(
            f"groups of m = {size} samples",
            "a closure does not show them; use as_torch(rule, model, loss=...) and optimizer.step(inputs, targets)",
        )


@dataclass(frozen=True, eq=False)
class ModuleBatch(Source):
    """Gradients of a module's loss on one minibatch; `before` is the one of the step before."""

    module: torch.nn.Module
    criterion: Callable[..., Tensor]
    passes: Passes
    functional: Functional
    batch: Batch
    before: Batch | None = None
    seen: Seen = field(default_factory=Seen)

    def oracle(self, moment: Moment) -> ModuleOracle:
        return ModuleOracle(self, moment, self.closure(self.batch))

    def closure(self, batch: Batch, module: torch.nn.Module | None = None) -> Callable[[], Tensor]:
        """The loss on a batch."""
        inputs, targets = batch
        return lambda: self.criterion((module or self.module)(inputs), targets)


class ModuleOracle(ClosureOracle):
    """Gradients of a module's loss on one minibatch."""

    source: ModuleBatch  # type: ignore[override]

    def tensors(self, x: Parameters) -> dict[str, Tensor]:
        names = self.source.functional.names(self._passes.packing)
        return dict(zip(names, self._passes.packing.unpack(x), strict=True))  # type: ignore[arg-type]

    @property
    def samples(self) -> int | None:
        return len(self.source.batch[1]) if isinstance(self.source.batch[1], Tensor) else None

    def chosen(self, indices: Tensor) -> Oracle:
        return ClosureOracle(self.source, self.moment, self.source.closure(rows(self.source.batch, indices)))

    def gradient_through(self, x: Parameters, y: Parameters) -> Parameters:
        source, (inputs, targets) = self.source, self.source.batch
        slopes = []

        def loss_at_x() -> Tensor:
            outputs = source.module(inputs).detach().requires_grad_()
            loss = source.criterion(outputs, targets)
            slopes.append(torch.autograd.grad(loss, outputs)[0])
            return loss.detach()

        with self._passes.opened(changes_buffers=False):
            self._passes.value(loss_at_x, x)  # type: ignore[arg-type]
            return self._passes.gradient(lambda: (source.module(inputs) * slopes[-1]).sum(), y)[0]  # type: ignore[arg-type]

    def outputs(self, x: Parameters) -> Tensor:
        with self._passes.opened(changes_buffers=False), torch.no_grad():
            self._passes.put(x)  # type: ignore[arg-type]
            return self.source.module(self.source.batch[0])

    def output_loss(self, outputs: Tensor) -> Tensor:
        return self.source.criterion(outputs, self.source.batch[1])

    @property
    def previous(self) -> Oracle:
        before = self.source.batch if self.source.before is None else self.source.before
        return ClosureOracle(self.source, self.moment, self.source.closure(before), own=False)

    def groups(self, size: int) -> SampleSide:
        return ModuleGroups(self.source, in_groups(self.source.batch, size))


class ModuleGroups:
    """Gradients of groups of a minibatch: all at once where that has been found right for this module, else one by one.

    In a module of `DistributedDataParallel` the groups are those of this process: their gradients stay here where they are the
    ascents, at one point, and are averaged over the processes where each is taken at its own point. This is m-SAM per device.
    """

    def __init__(self, source: ModuleBatch, batches: Batch) -> None:
        self.count, self._source, self._batches = batches[0].shape[0], source, batches
        replicated = source.module if isinstance(source.module, DistributedDataParallel) else None
        self._replicated, self._module = replicated, source.module if replicated is None else replicated.module

    def gradients(self, x: Parameters) -> Parameters:
        gradients, losses = self._taken(x.expand(self.count, -1))  # type: ignore[union-attr]
        self._source.seen.note(losses.mean())
        return gradients

    def gradients_at(self, xs: Parameters) -> Parameters:
        gradients, _ = self._taken(xs)  # type: ignore[arg-type]
        if self._replicated is not None:
            torch.distributed.all_reduce(gradients, group=self._replicated.process_group)
            gradients = gradients / torch.distributed.get_world_size(self._replicated.process_group)
        return gradients

    def losses(self, x: Parameters) -> Tensor:
        return self._taken(x.expand(self.count, -1))[1]  # type: ignore[union-attr]

    def _taken(self, xs: Float[Tensor, "group parameter"]) -> tuple[Tensor, Tensor]:
        source = self._source
        fast = source.functional.right_for_groups(self._batches, xs, self._one_by_one, source.passes)
        with source.passes.opened():
            return source.functional.groups(xs, self._batches) if fast else self._one_by_one(xs, self._batches)

    def _one_by_one(self, xs: Tensor, batches: Batch) -> tuple[Tensor, Tensor]:
        found = []
        for index, x in enumerate(xs.unbind()):
            closure = self._source.closure(tuple(part[index] for part in batches), self._module)
            found.append(self._source.passes.gradient(closure, x, local=self._replicated is not None))
        gradients, losses = zip(*found, strict=True)
        return torch.stack(gradients), torch.stack(losses)
