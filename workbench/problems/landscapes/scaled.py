"""A problem with its loss multiplied by a number, for papers whose loss is a multiple of the library's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_positive
from workbench.draws import Seed
from workbench.parameters import Parameters, scale
from workbench.problems.base import Batch, Measure, Problem

_SCALED = ("minimum", "spectrum", "smoothness", "strong_convexity", "pl_constant")
_SCALED_AT_POINTS = ("hessian", "sharpness")
_KEPT = ("minimiser", "saddle")


@dataclass(frozen=True, eq=False)
class Scaled(Problem[Parameters]):
    """factor times the loss of `problem`, with its data, strata, starts, measures and closed forms.

    What the problem knows of its loss is scaled (minimum, Hessian, spectrum, smoothness, strong convexity, PL constant,
    sharpness), what it knows of points is not (minimiser, saddle). Whatever else it has is found at `.problem`. The step size
    of gradient descent may absorb the factor, and so may rho of USAM, but not rho of SAM, which is a length.
    """

    problem: Problem
    factor: float | Tensor

    def __post_init__(self) -> None:
        require_positive("factor", self.factor)

    @property
    def data(self) -> Batch:
        return self.problem.data

    @property
    def strata(self) -> tuple[int, ...]:
        return self.problem.strata

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
        own = self.problem.measures
        scaled = {
            name: replace(own[name], function=lambda parameters, name=name: self.factor * own[name](parameters))
            for name in _SCALED_AT_POINTS
            if name in own
        }
        return {**own, **scaled, **super().measures}

    def __getattr__(self, name: str) -> Any:
        known = name in (*_SCALED, *_SCALED_AT_POINTS, *_KEPT)
        if not known or not hasattr(self.problem, name):
            raise AttributeError(f"Scaled has no {name!r}; what {type(self.problem).__name__} has is at .problem")
        value = getattr(self.problem, name)
        if name in _KEPT:
            return value
        return self.factor * value if name in _SCALED else lambda parameters: self.factor * value(parameters)
