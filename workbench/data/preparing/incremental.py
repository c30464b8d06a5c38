"""Class-incremental sessions: base classes with many samples, then new classes with a few shots each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench import draws
from workbench.data.record import Data


class Sessions(NamedTuple):
    """Indices into `data.inputs` and `data.targets`. Class k of the sequence is the class `classes[k]` of the data."""

    classes: Int[Tensor, " n_classes"]
    base: Int[Tensor, "base_class base_train"]
    shots: Int[Tensor, "session way shot"]
    test: Int[Tensor, "n_classes class_test"]


def sessions(data: Data, seed: int | Tensor, *, base: int, ways: int, shots: int, train: int, test: int) -> Sessions:
    """Deal the classes out: `base` classes first, then sessions of `ways` new classes with `shots` samples each.

    The class order is numpy's default_rng(seed).permutation; then each class in that order is permuted by the same
    generator: its first `test` samples are for testing, the next `train` (base) or `shots` (new) for training.
    `seed` may be vmapped. Every class left after the last full session is dropped.
    """
    counts = torch.bincount(data.targets, minlength=data.n_classes).tolist()
    n_sessions = (data.n_classes - base) // ways if ways > 0 else 0
    if not 0 < base < data.n_classes or n_sessions < 1:
        raise ValueError(
            f"base={base} and ways={ways} must leave at least one session of new classes; there are {data.n_classes}"
        )
    if min(shots, train, test) < 1 or test + max(shots, train) > min(counts):
        raise ValueError(
            f"test + train and test + shots must be at most {min(counts)}, the size of the smallest class, "
            f"and each at least 1; got test={test}, train={train}, shots={shots}"
        )
    dealt = _deal(seed, tuple(data.targets.tolist()), data.n_classes, test, max(shots, train))
    used = base + n_sessions * ways
    order, members = dealt[:used, 0], dealt[:used, 1:]
    learn = members[:, test:]
    return Sessions(
        order,
        learn[:base, :train],
        learn[base:, :shots].unflatten(0, (n_sessions, ways)),
        members[:, :test],
    )


@draws.seeded
def _deal(seed: int, targets: tuple[int, ...], n_classes: int, test: int, train: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    labels = np.array(targets)
    rows = []
    for label in generator.permutation(n_classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        rows.append([label, *members[: test + train]])
    return np.array(rows, np.int64)
