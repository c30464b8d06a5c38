"""What a rule sees of a problem at one step of a run (`workbench.optimizers.Oracle`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from workbench import draws
from workbench.draws import Seed
from workbench.dynamics.engine.compiled import NotTraceable
from workbench.parameters import Parameters, inner, ravel, unravel
from workbench.problems.base import Batch, Problem


@dataclass(frozen=True)
class StepOracle:
    """The problem's gradients for the minibatch of one step; `batch=None` means all samples.

    `step=None` stands for every step, while one is traced for all: then there are no random directions.
    """

    problem: Problem
    count: Int[Tensor, ""]
    batch: Batch | None = None
    previous: Batch | None = None
    seed: Seed = 0
    step: int | None = 0

    def gradient(self, parameters: Parameters) -> Parameters:
        return self.problem.gradient(parameters, self.batch)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        return self.problem.gradient(parameters, None)

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        return self.problem.gradient(parameters, self.batch if self.previous is None else self.previous)

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        return torch.func.grad(lambda point: inner(self.gradient(point), vector))(parameters)

    def random_direction(self, parameters: Parameters) -> Parameters:
        if self.step is None:
            raise NotTraceable("random directions are drawn on the host, step by step")
        like = ravel(parameters)
        entries = draws.normal(self.seed, tuple(like.shape), stream="ascent", counter=self.step, dtype=like.dtype)
        return unravel(entries.to(like.device), parameters)

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        groups = self._groups(size)
        return torch.func.vmap(self.problem.gradient, (None, 0))(parameters, groups)

    def group_gradients_at(self, parameters: Parameters, size: int) -> Parameters:
        groups = self._groups(size)
        return torch.func.vmap(self.problem.gradient, (0, 0))(parameters, groups)

    def _groups(self, size: int) -> Batch:
        batch = self.problem.data if self.batch is None else self.batch
        if not batch:
            raise ValueError(f"m-SAM needs samples, and {type(self.problem).__name__} has none; use sam or usam")
        samples = batch[0].shape[0]
        if samples % size:
            raise ValueError(f"m must divide the minibatch size {samples}, got m={size}")
        return tuple(tensor.reshape(samples // size, size, *tensor.shape[1:]) for tensor in batch)
