"""A problem with its loss multiplied by a number, for papers whose loss is a multiple of the library's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_positive
from workbench.draws import Seed
from workbench.parameters import Parameters, scale
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class Scaled(Problem[Parameters]):
    """factor times the loss of `problem`, with its data, its starts and its own measures.

    The step size of gradient descent may absorb the factor, and so may rho of USAM, but not rho of SAM, which is a length.
    """

    problem: Problem
    factor: float | Tensor

    def __post_init__(self) -> None:
        require_positive("factor", self.factor)

    @property
    def data(self) -> Batch:
        return self.problem.data

    def initial(self, seed: Seed) -> Parameters:
        return self.problem.initial(seed)

    def loss(self, parameters: Parameters) -> Float[Tensor, ""]:
        return self.factor * self.problem.loss(parameters)

    def sample_loss(self, parameters: Parameters, *sample: Tensor) -> Float[Tensor, ""]:
        return self.factor * self.problem.sample_loss(parameters, *sample)

    def batch_loss(self, parameters: Parameters, batch: Batch) -> Float[Tensor, ""]:
        return self.factor * self.problem.batch_loss(parameters, batch)

    def gradient(self, parameters: Parameters, batch: Batch | None = None) -> Parameters:
        return scale(self.factor, self.problem.gradient(parameters, batch))

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {**self.problem.measures, **super().measures}
