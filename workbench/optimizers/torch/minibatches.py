"""Minibatches of a training loop, and parts of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from workbench.optimizers.oracle import NotProvided

Batch = tuple[Any, ...]


def rows(batch: Batch, indices: Tensor) -> Batch:
    """These samples of a batch. Raises NotProvided where inputs or targets are no tensors of samples."""
    for part in batch:
        if not isinstance(part, Tensor) or not part.dim():
            raise NotProvided(
                "single samples", f"inputs and targets must be tensors of samples, got a {type(part).__name__}"
            )
    return tuple(part[indices.to(part.device)] for part in batch)


def in_groups(batch: Batch, size: int) -> Batch:
    """The samples in consecutive groups: a new leading dimension. Raises NotProvided where they do not fall into such."""
    what = f"groups of m = {size} samples"
    for part in batch:
        if not isinstance(part, Tensor) or not part.dim():
            raise NotProvided(what, f"inputs and targets must be tensors of samples, got a {type(part).__name__}")
    samples = batch[0].shape[0]
    if samples % size:
        raise NotProvided(what, f"m must divide the number of samples in a step, {samples}, got m={size}")
    return tuple(part.reshape(samples // size, size, *part.shape[1:]) for part in batch)
