"""Splits and subsets from a seed: index tensors, so that they also work for a vmapped seed inside a sweep."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Int, Num
from torch import Tensor

from workbench import draws
from workbench.data.record import Data

Seed = int | Tensor


def split(
    data: Data | tuple[Num[Tensor, " sample *sample_shape"], Num[Tensor, " sample"]],
    seed: Seed,
    *,
    train: int,
    test: int | None = None,
) -> Data:
    """Shuffle all samples (training and test parts together): the first `train` to learn from, the rest to test.

    `seed` may be a vmapped tensor: load once outside the sweep, split inside. With `test`, only that many of the rest
    are kept. A pair (inputs, targets) is split the same way.
    """
    data = data if isinstance(data, Data) else _from_pair(*data)
    n = len(data.train_inputs) + len(data.test_inputs)
    _check_count("train", train, 1, n)
    _check_count("test", test, 0, n - train)
    order = draws.permutation(seed, n, stream="split")
    end = n if test is None else train + test
    return gather(data, order[:train], order[train:end])


def subset(data: Data, seed: Seed | None, *, train: int | None = None, test: int | None = None) -> Data:
    """Keep `train` of the training samples and `test` of the test samples, class-balanced; parts never mix.

    Where the count is no multiple of the number of classes, the first classes get one more. The kept samples are in
    random order, so any prefix is again a random subset. `seed=None` keeps the first of each class in their order.
    """
    n_train, n_test = len(data.train_inputs), len(data.test_inputs)
    _check_count("train", train, 1, n_train)
    _check_count("test", test, 0, n_test)
    everything = torch.arange(n_train + n_test)
    training, testing = everything[:n_train], everything[n_train:]
    if train is not None:
        training = balanced(data.train_targets, data.n_classes, train, seed, stream="training subset")
    if test is not None:
        testing = n_train + balanced(data.test_targets, data.n_classes, test, seed, stream="test subset")
    return gather(data, training, testing)


def balanced(
    targets: Num[Tensor, " sample"], n_classes: int, count: int, seed: Seed | None, *, stream: str
) -> Int[Tensor, " count"]:
    """Indices of `count` samples, equally many of each class (all classes count as one when n_classes is 0)."""
    labels = targets if n_classes else torch.zeros_like(targets)
    parts, groups = [], max(n_classes, 1)
    for label in range(groups):
        members = torch.nonzero(labels == label).flatten()
        wanted = count // groups + (label < count % groups)
        if wanted > len(members):
            raise ValueError(
                f"{count} class-balanced samples need {wanted} of class {label}, which has {len(members)}; "
                f"ask for at most {len(members) * groups}"
            )
        if seed is None:
            parts.append(members[:wanted])
        else:
            parts.append(members[draws.permutation(seed, len(members), stream=stream, counter=label)[:wanted]])
    chosen = torch.cat(parts)
    if seed is None:
        return chosen.sort().values
    return chosen[draws.permutation(seed, count, stream=stream, counter=groups)]


def gather(data: Data, train: Int[Tensor, " train"], test: Int[Tensor, " test"]) -> Data:
    """The samples of `data` (numbered with the training part first) at two index tensors."""
    inputs, targets, domains = data.inputs, data.targets, data.domains
    train, test = train.to(inputs.device), test.to(inputs.device)
    return dataclasses.replace(
        data,
        train_inputs=inputs[train],
        train_targets=targets[train],
        test_inputs=inputs[test],
        test_targets=targets[test],
        train_domains=None if domains is None else domains[train],
        test_domains=None if domains is None else domains[test],
    )


def _from_pair(inputs: Tensor, targets: Tensor) -> Data:
    return Data("arrays", inputs, targets, inputs[:0], targets[:0])


def _check_count(name: str, count: int | None, low: int, high: int) -> None:
    if count is not None and not low <= count <= high:
        raise ValueError(f"{name} must be between {low} and {high} samples, got {count}")
