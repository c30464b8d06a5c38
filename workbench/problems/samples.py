"""What a problem on data is given: a data set, tensors or loaders, checked and taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from workbench.curvature import batches
from workbench.parameters import concrete


class DataSet(Protocol):
    """What `workbench.data.load` returns, as far as it is needed here."""

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor

    @property
    def n_classes(self) -> int: ...


def parts(data: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and targets, test inputs and targets (of length 0 where there are none). Raises ValueError for others."""
    if isinstance(data, tuple) and len(data) == 2 and all(batches.is_loader(entry) for entry in data):
        found = (*_read(data[0]), *_read(data[1]))
    elif isinstance(data, tuple) and len(data) in (2, 4):
        found = data if len(data) == 4 else (*data, data[0][:0], data[1][:0])
    elif hasattr(data, "train_inputs"):
        found = (data.train_inputs, data.train_targets, data.test_inputs, data.test_targets)
    elif batches.is_loader(data):
        inputs, targets = _read(data)
        found = (inputs, targets, inputs[:0], targets[:0])
    else:
        got = f"{len(data)}" if isinstance(data, tuple) else type(data).__name__
        raise ValueError(
            "data must be (inputs, targets) or (inputs, targets, test_inputs, test_targets), a loader of (inputs, targets) or "
            f"a data set of wb.data, got {got}"
        )
    for part, inputs, targets in (("training", *found[:2]), ("test", *found[2:])):
        if len(inputs) != len(targets):
            raise ValueError(f"{part} inputs and targets differ in length: {len(inputs)} and {len(targets)}")
    for targets in found[1::2]:
        if targets.dim() not in ((1, 2) if targets.is_floating_point() else (1,)):
            wanted = "[sample] or [sample, output]" if targets.is_floating_point() else "[sample], one class each"
            raise ValueError(f"targets of type {targets.dtype} must be {wanted}, got shape {tuple(targets.shape)}")
    if len(found[0]) == 0:
        raise ValueError("data must have at least one training sample")
    return found


def _read(loader: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """All inputs and targets of a loader."""
    both = batches.gather(loader)
    if not isinstance(both, (tuple, list)) or len(both) != 2 or not all(isinstance(entry, Tensor) for entry in both):
        raise ValueError(f"a loader's batches must be (inputs, targets), two tensors, got {type(both).__name__}")
    return both[0], both[1]


def count_classes(targets: Int[Tensor, " sample"]) -> int:
    """One more than the largest class. Raises ValueError where it differs from run to run."""
    largest = concrete(targets.max())
    if largest is None:
        raise ValueError("n_classes must be given when the targets differ from run to run")
    return int(largest) + 1


def encoded(
    targets: Num[Tensor, "sample ..."], n_classes: int | None, dtype: torch.dtype
) -> Float[Tensor, "sample output"]:
    """One-hot rows for classes, [sample, output] for numbers."""
    if targets.is_floating_point():
        return (targets[:, None] if targets.dim() == 1 else targets).to(dtype)
    assert n_classes is not None
    low, high = (concrete(targets.min()), concrete(targets.max())) if len(targets) else (0, 0)
    if low is not None and high is not None and not 0 <= low <= high < n_classes:
        raise ValueError(f"targets must be classes in 0..{n_classes - 1}, got {low:.0f} to {high:.0f}")
    return (targets[:, None] == torch.arange(n_classes, device=targets.device)).to(dtype)
