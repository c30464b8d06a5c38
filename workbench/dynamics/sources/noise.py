"""Noise around other sources: in the gradient, and in the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.draws.kinds import Normal
from workbench.dynamics.sources.samples import AllSamples, SampleOracle, altered
from workbench.optimizers.oracle import Moment, Oracle, Source
from workbench.parameters import Parameters, Scalar, add_scaled
from workbench.problems.base import Batch, Problem


@dataclass(frozen=True, eq=False)
class AdditiveNoise(Source):
    """Every gradient of a step plus sigma Z, with one standard normal Z of the parameters' shape for all gradients of the step.

    The loss and the Hessian are those of `of`. A diffusion with the same seed, `stream` and shape sees the same Z, and with
    `pieces=r` the sum of r of its smaller steps (see `workbench.optimizers.continuous.diffusions`).
    """

    sigma: Scalar
    of: Source = field(default_factory=AllSamples)
    stream: str = "noise"
    pieces: int = 1

    def oracle(self, moment: Moment) -> Oracle:
        of = self.of.oracle(moment)
        return _NoisyOracle(self, of, of.normal(self.stream, moment.parameters, self.pieces))

    def per_epoch(self, problem: Problem) -> int | None:
        return self.of.per_epoch(problem)


class _NoisyOracle(Oracle):
    def __init__(self, source: AdditiveNoise, of: Oracle, noise: Parameters) -> None:
        self.source, self.moment = source, of.moment
        self._of, self._noise, self._sigma = of, noise, source.sigma

    def gradient(self, x: Parameters) -> Parameters:
        return add_scaled(self._of.gradient(x), self._sigma, self._noise)

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        return self._of.loss(x)

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return self._of.hessian_vector_product(x, v)

    @property
    def full(self) -> Oracle:
        return self._of.full


@dataclass(frozen=True, eq=False)
class LabelNoise(Source):
    """The targets (the last tensor of a batch) plus `amplitude` times noise, fresh for every sample and step; after `until` steps
    of the rule without. law "normal": standard normal numbers; "signs": -1 or 1 with equal chances.
    """

    amplitude: Scalar
    of: Source = field(default_factory=AllSamples)
    until: int | Tensor | None = None
    law: Literal["normal", "signs"] = "normal"

    def __post_init__(self) -> None:
        if self.law not in ("normal", "signs"):
            raise ValueError(f"law must be normal or signs, got {self.law!r}")

    def oracle(self, moment: Moment) -> SampleOracle:
        def noisy(batch: Batch) -> Batch:
            *inputs, targets = batch
            noise = moment.draws.row(Normal("labels", tuple(targets.shape))).to(targets.device, targets.dtype)
            if self.law == "signs":
                noise = torch.where(noise < 0, -1.0, 1.0).to(noise.dtype)
            amplitude: Any = self.amplitude
            if self.until is not None:
                amplitude = amplitude * (moment.step < self.until).double()
            return (*inputs, targets + (amplitude * noise).to(targets.dtype))

        return altered(self.of.oracle(moment), self, noisy, "LabelNoise")

    def per_epoch(self, problem: Problem) -> int | None:
        return self.of.per_epoch(problem)
