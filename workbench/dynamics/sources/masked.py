"""Some entries of the parameters frozen."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.draws.kinds import Draw
from workbench.dynamics.sources.samples import AllSamples
from workbench.optimizers.oracle import Moment, Oracle, SampleSide, Source
from workbench.parameters import Parameters, tree_map
from workbench.problems.base import Problem


@dataclass(frozen=True, eq=False)
class Masked(Source):
    """Gradients, products and random directions of `of`, zero where `mask` (1 or 0 per entry, in the shape of the parameters) is
    zero: frozen entries do not move and count in no norm.
    """

    mask: Parameters
    of: Source = field(default_factory=AllSamples)

    def oracle(self, moment: Moment) -> Oracle:
        return _MaskedOracle(self, self.of.oracle(moment))

    def per_epoch(self, problem: Problem) -> int | None:
        return self.of.per_epoch(problem)


class _MaskedOracle(Oracle):
    def __init__(self, source: Masked, of: Oracle) -> None:
        self.source, self.moment, self._of, self._mask = source, of.moment, of, source.mask

    def _cut(self, x: Parameters) -> Parameters:
        return tree_map(torch.mul, self._mask, x)

    def gradient(self, x: Parameters) -> Parameters:
        return self._cut(self._of.gradient(x))

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return self._cut(self._of.hessian_vector_product(x, self._cut(v)))

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        return self._of.loss(x)

    def draw(self, draw: Draw) -> Tensor:
        return self._of.draw(draw)

    def normal(self, stream: str, like: Parameters, pieces: int = 1) -> Parameters:
        return self._cut(self._of.normal(stream, like, pieces))

    def gradient_through(self, x: Parameters, y: Parameters) -> Parameters:
        return self._cut(self._of.gradient_through(x, y))

    @property
    def samples(self) -> int | None:
        return self._of.samples

    def chosen(self, indices: Tensor) -> Oracle:
        return _MaskedOracle(self.source, self._of.chosen(indices))  # type: ignore[arg-type]

    def outputs(self, x: Parameters) -> Tensor:
        return self._of.outputs(x)

    def output_loss(self, outputs: Tensor) -> Float[Tensor, ""]:
        return self._of.output_loss(outputs)

    @property
    def full(self) -> Oracle:
        return _MaskedOracle(self.source, self._of.full)  # type: ignore[arg-type]

    def groups(self, size: int) -> SampleSide:
        return _MaskedSide(self._of.groups(size), self._mask)


class _MaskedSide:
    def __init__(self, of: SampleSide, mask: Parameters) -> None:
        self.count, self._of, self._mask = of.count, of, mask

    def gradients(self, x: Parameters) -> Parameters:
        return tree_map(torch.mul, self._mask, self._of.gradients(x))

    def gradients_at(self, xs: Parameters) -> Parameters:
        return tree_map(torch.mul, self._mask, self._of.gradients_at(xs))

    def losses(self, x: Parameters) -> Float[Tensor, " side"]:
        return self._of.losses(x)
