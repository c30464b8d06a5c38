"""Gradients of a scaled loss, as torch.amp.GradScaler hands them over."""

from __future__ import annotations

import torch
from torch import Tensor


def scaling(optimizer: torch.optim.Optimizer, by_closure: bool) -> tuple[Tensor | None, bool]:
    """The scale of the closure's loss, and whether the scaler wants this step skipped.

    The scaler sets both as attributes of the optimizer for the time of `scaler.step`. Raises ValueError where the optimizer
    computes the loss itself, and after `scaler.unscale_`.
    """
    if "found_inf" not in vars(optimizer):
        return None, False
    if not by_closure:
        raise ValueError("a GradScaler needs a closure that scales the loss: scaler.step(optimizer, closure)")
    scale: Tensor | None = vars(optimizer)["grad_scale"]
    if scale is None:
        raise ValueError(
            "scaler.unscale_(optimizer) has unscaled one gradient, but the closure computes scaled ones again: leave it out, "
            "scaler.step(optimizer, closure) unscales them all; to clip, do so in the closure"
        )
    return scale, bool(vars(optimizer)["found_inf"])
