"""Hyper-parameters that change during a run: callables of the number of steps already taken.

Wherever a rule takes `step_size`, `rho`, `beta` or `lam`, it takes a number, a 0-dim tensor (one value per run under
vmap) or one of these. The fields may be tensors too, so that e.g. the time of a switch can be swept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

Count: TypeAlias = Int[Tensor, ""]
HyperParameter: TypeAlias = float | Tensor | Callable[[Tensor], Tensor]


def at(value: HyperParameter, count: Count) -> float | Tensor:
    """The hyper-parameter's value at step `count` (0 for the first step)."""
    return value(count) if callable(value) else value


@dataclass(frozen=True)
class StepDecay:
    """`value`, multiplied by `factor` at each of the steps `milestones`."""

    value: float | Tensor
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __call__(self, count: Count) -> Tensor:
        passed = torch.stack([(count >= milestone).to(torch.float64) for milestone in self.milestones]).sum()
        return self.value * self.factor**passed


@dataclass(frozen=True)
class LinearDecay:
    """From `value` at step 0 to zero at step `steps`."""

    value: float | Tensor
    steps: int

    def __call__(self, count: Count) -> Tensor:
        return self.value * (1.0 - count.to(torch.float64) / self.steps).clamp(min=0.0)


@dataclass(frozen=True)
class SwitchOn:
    """Zero before step `start`, `value` from there on."""

    value: float | Tensor
    start: int | Tensor

    def __call__(self, count: Count) -> Tensor:
        return (count >= self.start).to(torch.float64) * self.value
