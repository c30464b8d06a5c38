"""Samples moved against the loss wherever a gradient is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.dynamics.sources.samples import AllSamples, SampleOracle, altered
from workbench.optimizers.oracle import Moment, NotProvided, Oracle, Source
from workbench.parameters import Parameters
from workbench.problems.base import Batch, Problem

Attack = Callable[[Any, Parameters, Batch], Batch]
"""`attack(problem, parameters, batch) -> batch`: the samples as the adversary shows them at these parameters."""


@dataclass(frozen=True, eq=False)
class Adversarial(Source):
    """The samples of `of`, attacked at the very point where a gradient or the loss is asked for (adversarial training)."""

    attack: Attack
    of: Source = field(default_factory=AllSamples)

    def oracle(self, moment: Moment) -> Oracle:
        return _AttackedOracle(self, altered(self.of.oracle(moment), self, lambda batch: batch, "Adversarial"))

    def per_epoch(self, problem: Problem) -> int | None:
        return self.of.per_epoch(problem)


class _AttackedOracle(Oracle):
    def __init__(self, source: Adversarial, of: SampleOracle) -> None:
        self.source, self.moment, self._of, self._attack = source, of.moment, of, source.attack

    def _attacked(self, x: Parameters) -> SampleOracle:
        assert self._of.batch is not None
        return replace(self._of, batch=self._attack(self.moment.problem, x, self._of.batch))

    def gradient(self, x: Parameters) -> Parameters:
        return self._attacked(x).gradient(x)

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        return self._attacked(x).loss(x)

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        # Of the loss of the samples as they are attacked at x, held fixed: what adversarial training differentiates.
        return self._attacked(x).hessian_vector_product(x, v)

    @property
    def full(self) -> Oracle:
        everything = self._of.full
        if not isinstance(everything, SampleOracle):
            raise NotProvided("the gradient over all samples", f"{type(self.source).__name__} does not show them")
        return _AttackedOracle(self.source, replace(everything, batch=self.moment.problem.data))  # type: ignore[arg-type]
