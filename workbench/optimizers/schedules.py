"""Hyper-parameters that change during a run: callables of the number of steps already taken.

Wherever a rule takes `step_size`, `rho`, `beta` or `lam`, it takes a number, a 0-dim tensor (one value per run under
vmap) or one of these. The fields may be tensors too, so that e.g. the time of a switch can be swept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

HyperParameter: TypeAlias = float | Tensor | Callable[[Tensor], Tensor]


def at(value: HyperParameter, step: Int[Tensor, ""]) -> float | Tensor:
    """The hyper-parameter's value at a step (0 for the first). Schedules get the step in double precision: 1/(step + 1) of an
    integer tensor would be in single precision, whatever the run's is.
    """
    return value(step.to(torch.float64)) if callable(value) else value


@dataclass(frozen=True)
class StepDecay:
    """`value`, multiplied by `factor` at each of the steps `milestones`.

    >>> import torch
    >>> import workbench as wb
    >>> wb.optimizers.StepDecay(1.0, milestones=(10, 20))(torch.tensor(15.0)).item()
    0.1
    """

    value: float | Tensor
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        passed = torch.stack([(step >= milestone).to(torch.float64) for milestone in self.milestones]).sum()
        return self.value * self.factor**passed


@dataclass(frozen=True)
class LinearDecay:
    """From `value` at step 0 to zero at step `steps`.

    >>> import torch
    >>> import workbench as wb
    >>> wb.optimizers.LinearDecay(0.5, steps=100)(torch.tensor(50.0)).item()
    0.25
    """

    value: float | Tensor
    steps: int

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return self.value * (1.0 - step / self.steps).clamp(min=0.0)


@dataclass(frozen=True)
class SwitchOn:
    """Zero before step `start`, `value` from there on.

    >>> import torch
    >>> import workbench as wb
    >>> [wb.optimizers.SwitchOn(0.5, start=5)(torch.tensor(step)).item() for step in (4, 5)]
    [0.0, 0.5]
    """

    value: float | Tensor
    start: int | Tensor

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return (step >= self.start).to(torch.float64) * self.value


@dataclass(frozen=True)
class Cosine:
    """From `value` at step 0 along half a cosine to zero at step `steps`.

    >>> import torch
    >>> import workbench as wb
    >>> [wb.optimizers.Cosine(1.0, steps=100)(torch.tensor(step)).item() for step in (0, 100)]
    [1.0, 0.0]
    """

    value: float | Tensor
    steps: int

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return 0.5 * self.value * (1.0 + torch.cos(torch.pi * (step / self.steps).clamp(max=1.0)))
