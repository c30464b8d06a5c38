"""Noisy labels from a seed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.parameters import concrete


def label_noise(
    targets: Int[Tensor, " sample"],
    seed: int | Tensor,
    rate: float | int | Tensor,
    *,
    n_classes: int,
    self_flips: bool = False,
    stream: str = "label noise",
) -> tuple[Int[Tensor, " sample"], Bool[Tensor, " sample"]]:
    """Symmetric label noise: floor(rate * n) labels, at places drawn at random, are redrawn.

    Without self flips a redrawn label is (y + uniform{1..K-1}) mod K, so it is always wrong; with them it is uniform
    over all K classes, so it is wrong with probability 1 - 1/K. Seed and rate may be vmapped. With the same seed the noisy
    places of a smaller rate are among those of a larger one.

    Returns the labels and the mask of those that were redrawn.

    Raises ValueError for n_classes < 2, a rate outside [0, 1], and targets that are no classes in 0..n_classes-1.
    """
    require_count("n_classes", n_classes, 2)
    if not isinstance(rate, Tensor) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}")
    n = len(targets)
    low, high = (concrete(targets.min()), concrete(targets.max())) if n else (0, 0)
    if targets.is_floating_point() or (low is not None and high is not None and not 0 <= low <= high < n_classes):
        found = f"{targets.dtype} numbers" if targets.is_floating_point() else f"{low:.0f} to {high:.0f}"
        raise ValueError(f"targets must be integer classes in 0..{n_classes - 1}, got {found}")
    if self_flips:
        redrawn = draws.integers(seed, n_classes, (n,), stream=stream).to(targets.device)
    else:
        redrawn = (
            targets + 1 + draws.integers(seed, n_classes - 1, (n,), stream=stream).to(targets.device)
        ) % n_classes
    # 0.29 * 100 is 28.999999999999996; the count a reader expects is 29.
    place = draws.permutation(seed, n, stream=f"{stream} places").to(targets.device)
    noisy = place < torch.floor(torch.as_tensor(rate, dtype=torch.float64) * n + 1e-9)
    return torch.where(noisy, redrawn, targets), noisy
