"""Gradients of a module's loss on a minibatch by torch.func alone, for compiled steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from workbench.optimizers.oracle import Moment, Oracle, SampleSide, Source
from workbench.optimizers.torch.functional import Transforms
from workbench.optimizers.torch.minibatches import Batch, in_groups, rows
from workbench.optimizers.torch.oracles import LoopOracle, Seen
from workbench.parameters import Parameters


@dataclass(frozen=True, eq=False)
class TransformedBatch(Source):
    """The same as `ModuleBatch` by torch.func alone, for compiled steps."""

    gradients: Transforms
    batch: Batch
    before: Batch | None = None
    seen: Seen = field(default_factory=Seen)

    def oracle(self, moment: Moment) -> TransformedOracle:
        return TransformedOracle(self, moment, self.batch)


class TransformedOracle(LoopOracle):
    """Gradients of a module's loss on one minibatch, by torch.func."""

    source: TransformedBatch  # type: ignore[override]

    def __init__(self, source: TransformedBatch, moment: Moment, batch: Batch, own: bool = True) -> None:
        self.source, self.moment, self._batch, self._own = source, moment, batch, own

    def gradient(self, x: Parameters) -> Parameters:
        gradient, loss = self.source.gradients.gradient(x, self._batch)  # type: ignore[arg-type]
        if self._own:
            self.source.seen.note(loss)
        return gradient

    def loss(self, x: Parameters) -> Tensor:
        return self.source.gradients.gradient(x, self._batch)[1]  # type: ignore[arg-type]

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return self.source.gradients.product(x, v, self._batch)  # type: ignore[arg-type]

    def tensors(self, x: Parameters) -> dict[str, Tensor]:
        transforms = self.source.gradients
        return dict(zip(transforms.names, transforms.packing.unpack(x), strict=True))  # type: ignore[arg-type]

    def joined(self, tensors: dict[str, Tensor]) -> Parameters:
        return self.source.gradients.packing.pack(list(tensors.values()))

    @property
    def samples(self) -> int | None:
        return len(self._batch[1]) if isinstance(self._batch[1], Tensor) else None

    def chosen(self, indices: Tensor) -> Oracle:
        return TransformedOracle(self.source, self.moment, rows(self._batch, indices))

    @property
    def previous(self) -> Oracle:
        before = self._batch if self.source.before is None else self.source.before
        return TransformedOracle(self.source, self.moment, before, own=False)

    def groups(self, size: int) -> SampleSide:
        return TransformedGroups(self.source, in_groups(self._batch, size))


class TransformedGroups:
    """Gradients of groups side by side."""

    def __init__(self, source: TransformedBatch, batches: Batch) -> None:
        self.count, self._source, self._batches = batches[0].shape[0], source, batches

    def gradients(self, x: Parameters) -> Parameters:
        gradients, losses = self._source.gradients.groups(x, self._batches, shared=True)  # type: ignore[arg-type]
        self._source.seen.note(losses.mean())
        return gradients

    def gradients_at(self, xs: Parameters) -> Parameters:
        return self._source.gradients.groups(xs, self._batches, shared=False)[0]  # type: ignore[arg-type]

    def losses(self, x: Parameters) -> Tensor:
        return self._source.gradients.groups(x, self._batches, shared=True)[1]  # type: ignore[arg-type]
