"""For loops that train networks, stacked or not: step sizes over a run, and SGD with momentum in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.9


def warm_cosine(step: int, steps: int, peak: float, warm_up: float = 0.05) -> float:
    """Linear from 0 over the first share of the steps, then half a cosine to 0."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return 0.5 * peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def three_stages(step: int, steps: int, peak: float) -> float:
    """Multiplied by 0.1 after 34 % and after 67 % of the steps (the schedule of arXiv:2103.02325)."""
    return peak * 0.1 ** sum(step >= share * steps for share in (0.34, 0.67))


@torch.no_grad()
def sgd(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    step_size: float,
    weight_decay: float,
) -> None:
    """v <- 0.9 v + g + weight_decay w; w <- w - step_size v, in place."""
    slopes = torch._foreach_add(list(gradients), list(parameters), alpha=weight_decay)
    torch._foreach_mul_(list(velocities), MOMENTUM)
    torch._foreach_add_(list(velocities), slopes)
    torch._foreach_add_(list(parameters), list(velocities), alpha=-step_size)
