"""Noisy labels from a seed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench import draws


def label_noise(
    targets: Int[Tensor, " sample"],
    seed: int | Tensor,
    rate: float | int | Tensor,
    *,
    n_classes: int,
    self_flips: bool = False,
    stream: str = "label noise",
) -> tuple[Int[Tensor, " sample"], Bool[Tensor, " sample"]]:
    """Symmetric label noise: the first floor(rate * n) labels are redrawn; the samples must be in random order.

    Without self flips a redrawn label is (y + uniform{1..K-1}) mod K, so it is always wrong; with them it is uniform
    over all K classes, so it is wrong with probability 1 - 1/K. Seed and rate may be vmapped.

    Returns the labels and the mask of those that were redrawn.
    """
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2 for label noise, got {n_classes}")
    if not isinstance(rate, Tensor) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}")
    n = len(targets)
    if self_flips:
        redrawn = draws.integers(seed, n_classes, (n,), stream=stream).to(targets.device)
    else:
        redrawn = (
            targets + 1 + draws.integers(seed, n_classes - 1, (n,), stream=stream).to(targets.device)
        ) % n_classes
    # 0.29 * 100 is 28.999999999999996; the count a reader expects is 29.
    noisy = torch.arange(n, device=targets.device) < torch.floor(torch.as_tensor(rate, dtype=torch.float64) * n + 1e-9)
    return torch.where(noisy, redrawn, targets), noisy
