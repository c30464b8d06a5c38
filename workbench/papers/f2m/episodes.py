"""The samples of every seed: base classes, shots of the sessions, test images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import data, draws
from workbench.data import Data
from workbench.papers.f2m.settings import PER_CLASS, Protocol


@dataclass(frozen=True, eq=False)
class Episodes:
    """Class k is the k-th class of a seed's own order. Sessions share one base."""

    seeds: tuple[int, ...]
    train: Float[Tensor, "seed base_class sample ..."]
    shots: Float[Tensor, "seed draw new_class shot ..."]
    test: Float[Tensor, "seed class sample ..."]
    way: int

    @property
    def n_base(self) -> int:
        """Number of base classes."""
        return self.train.shape[1]

    @property
    def n_sessions(self) -> int:
        """Sessions after the base training."""
        return self.shots.shape[2] // self.way

    def of(self, first: int, last: int) -> Episodes:
        """Those of some of the seeds, by position."""
        part = slice(first, last)
        return Episodes(self.seeds[part], self.train[part], self.shots[part], self.test[part], self.way)


@functools.lru_cache(maxsize=4)
def images(dataset: str, protocol: Protocol) -> Data:
    """The images of a data set; missing files raise DataNotFoundError, which names the place.

    CIFAR is pooled to half its size; of its images, training and test together, the first of each class serve.
    """
    if dataset == "digits":
        return data.load("digits")
    n_classes = {"cifar10": 10, "cifar100": 100}[dataset]
    part = {"train": protocol.train * n_classes, "test": protocol.test * n_classes}
    return data.load(dataset, seed=None, size=16, standardise="channels", **part)  # type: ignore[arg-type]


def deal(dataset: str, seeds: Sequence[int], protocol: Protocol) -> Episodes:
    """Class order, test, training and shot images of every seed: `wb.data.sessions`, the shots cut into disjoint draws."""
    everything = images(dataset, protocol)
    kept = [
        data.sessions(
            everything,
            seed,
            base=protocol.n_base,
            ways=protocol.way,
            shots=protocol.shot * protocol.shot_draws,
            train=protocol.train,
            test=protocol.test,
        )
        for seed in seeds
    ]
    inputs = everything.inputs
    base = torch.stack([one.base for one in kept])
    # [seed, new class, draw, shot] -> [seed, draw, new class, shot]
    shots = torch.stack([one.shots.flatten(0, 1) for one in kept]).unflatten(-1, (protocol.shot_draws, protocol.shot))
    test = torch.stack([one.test for one in kept])
    return Episodes(tuple(seeds), inputs[base], inputs[shots.transpose(1, 2)], inputs[test], protocol.way)


def minibatches(seed: int, steps: int, n_base: int, train: int) -> Int[Tensor, "step base_class sample"]:
    """Indices of 16 different samples of every base class for each step."""
    keys = draws.generator(seed, "minibatches").random((steps, n_base, train), np.float32)
    return torch.from_numpy(np.argpartition(keys, PER_CLASS - 1, axis=-1)[..., :PER_CLASS].copy())
