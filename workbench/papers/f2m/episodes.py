"""The samples of every seed: base classes, shots of the sessions, test images."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import data, draws
from workbench.data import Data
from workbench.papers.f2m.settings import PER_CLASS, Protocol

Dataset = Literal["digits", "cifar10", "cifar100", "miniimagenet", "cub200"]
CLASSES_OF_A_BATCH = 16
"""Minibatches hold 16 samples of at most 16 classes: 256 images, as released."""


class Source(NamedTuple):
    """Classes of a data set, training and test samples of a class, side of the images, folder below WORKBENCH_DATA."""

    n_classes: int
    train: int
    test: int
    side: int
    folder: str = ""


SOURCES: dict[str, Source] = {
    "digits": Source(10, 120, 50, 8),
    "cifar10": Source(10, 600, 200, 16),
    "cifar100": Source(100, 500, 100, 32),
    "miniimagenet": Source(100, 500, 100, 84, "miniimagenet"),
    "cub200": Source(200, 29, 11, 224, "cub200"),
}


@dataclass(frozen=True, eq=False)
class Episodes:
    """Rows of `images` for every seed. Class k is the k-th class of the seed's own order."""

    seeds: tuple[int, ...]
    images: Float[Tensor, "image ..."]
    train: Int[Tensor, "seed base_class sample"]
    shots: Int[Tensor, "seed draw new_class shot"]
    test: Int[Tensor, "seed class sample"]
    way: int

    @property
    def n_base(self) -> int:
        """Number of base classes."""
        return self.train.shape[1]

    def of(self, first: int, last: int) -> Episodes:
        """Those of some of the seeds, by position."""
        part = slice(first, last)
        return dataclasses.replace(
            self, seeds=self.seeds[part], train=self.train[part], shots=self.shots[part], test=self.test[part]
        )

    def with_draws(self, n: int) -> Episodes:
        """The first n draws of the shots."""
        return dataclasses.replace(self, shots=self.shots[:, :n])


def protocol_of(dataset: str, n_base: int, way: int, shot: int, shot_draws: int) -> Protocol:
    """The protocol with the data set's numbers of samples. Raises ValueError for an unknown data set, or where the classes that
    are no base classes do not fill sessions of `way`.
    """
    if dataset not in get_args(Dataset):
        raise ValueError(f"dataset must be one of {', '.join(get_args(Dataset))}, got {dataset!r}")
    source = SOURCES[dataset]
    protocol = Protocol(n_base, way, shot, shot_draws, source.train, source.test)
    if source.n_classes <= n_base or (source.n_classes - n_base) % way:
        raise ValueError(
            f"the {source.n_classes} classes less n_base must be a positive multiple of way, got n_base={n_base}, way={way}"
        )
    return protocol


@functools.lru_cache(maxsize=2)
def images(dataset: str) -> Data:
    """The images of a data set. Missing files raise DataNotFoundError, which names the place.

    CIFAR-10 is pooled to 16 x 16, and the first images of each class of its two parts serve. miniImageNet and CUB-200 are
    folders train/class and test/class below WORKBENCH_DATA.
    """
    source = SOURCES[dataset]
    if dataset == "digits":
        return data.load("digits")
    if dataset == "cifar10":
        counts = {"train": 10 * (source.train + 1), "test": 10 * source.test}
        return data.load(dataset, seed=None, size=source.side, standardise="channels", **counts)  # type: ignore[arg-type]
    if dataset == "cifar100":
        return data.load(dataset, standardise="channels")
    root = os.path.join(os.environ.get("WORKBENCH_DATA", ""), source.folder)
    return data.load("image-folder", root=root, size=source.side, standardise="channels")


def deal(everything: Data, seeds: Sequence[int], protocol: Protocol) -> Episodes:
    """Class order, training, shot and test images of every seed: `wb.data.sessions`, the shots cut into disjoint draws.

    Where the data have a test part, the test images are its first of each class, the same for every seed.
    """
    official = len(everything.test_inputs) > 0
    learn = dataclasses.replace(
        everything, test_inputs=everything.test_inputs[:0], test_targets=everything.test_targets[:0]
    )
    # `sessions` sets test samples aside; where the data have a test part it is one of each class, which is not used.
    smallest = int(torch.bincount(learn.targets, minlength=learn.n_classes).min())
    train = min(protocol.train, smallest - 1) if official else protocol.train
    kept = [
        data.sessions(
            learn,
            seed,
            base=protocol.n_base,
            ways=protocol.way,
            shots=protocol.shot * protocol.shot_draws,
            train=train,
            test=1 if official else protocol.test,
        )
        for seed in seeds
    ]
    test = torch.stack([one.test for one in kept])
    if official:
        first = [
            torch.nonzero(everything.test_targets == label).flatten()[: protocol.test]
            for label in range(everything.n_classes)
        ]
        rows = len(everything.train_inputs) + torch.stack(first)
        test = torch.stack([rows[one.classes] for one in kept])
    base = torch.stack([one.base for one in kept])
    # [seed, new class, draw, shot] -> [seed, draw, new class, shot]
    shots = torch.stack([one.shots.flatten(0, 1) for one in kept]).unflatten(-1, (protocol.shot_draws, protocol.shot))
    return Episodes(tuple(seeds), everything.inputs, base, shots.transpose(1, 2), test, protocol.way)


def minibatch_order(
    seed: int, steps: int, n_base: int, train: int
) -> tuple[Int[Tensor, "step batch_class"], Int[Tensor, "step batch_class sample"]]:
    """For each step the classes of the minibatch (all of them up to 16) and 16 different samples of each, or all."""
    generator = draws.generator(seed, "minibatches")
    classes = min(n_base, CLASSES_OF_A_BATCH)
    samples = _some(generator, (steps, classes), train, min(PER_CLASS, train))
    chosen = (
        np.tile(np.arange(n_base), (steps, 1)) if classes == n_base else _some(generator, (steps,), n_base, classes)
    )
    return torch.from_numpy(chosen), torch.from_numpy(samples)


def _some(generator: np.random.Generator, lead: tuple[int, ...], n: int, k: int) -> np.ndarray:
    """k different numbers below n for every entry of `lead`."""
    keys = generator.random((*lead, n), np.float32)
    return np.argpartition(keys, k - 1, axis=-1)[..., :k].copy()
