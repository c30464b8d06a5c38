"""Draws: named streams of random numbers with one row a step.

A draw is asked for at a step (`oracle.draw(Uniform("coin", (3,)))`) and answered with the row of that step. Rows are drawn per
seed in blocks, so that a run of any length, traced or not, alone or in a sweep, sees the same ones. Two runs share their noise
by the same seed, stream and shape of a row; the same stream with another shape is other numbers.

>>> numbers(Integers("die", 6, (2,)), seed=0, steps=3).shape
torch.Size([3, 2])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from workbench.draws import host
from workbench.draws.host import Seed

BLOCK_ENTRIES = 4096
"""About so many numbers are drawn at once."""


@dataclass(frozen=True)
class Draw:
    """Base of all draws: `stream` is the name of the purpose; draws of one run with the same stream must be equal."""

    stream: str

    @property
    def steps(self) -> int:
        """Rows in a block: about `BLOCK_ENTRIES` numbers, one row at least."""
        return max(1, BLOCK_ENTRIES // max(1, self.blank().numel()))

    def block(self, seed: Seed, number: int) -> Shaped[Tensor, "step ..."]:
        """The rows of the steps number * steps, ..., (number + 1) * steps - 1."""
        raise NotImplementedError

    def blank(self) -> Shaped[Tensor, ...]:
        """A row of the right shape and type, not drawn: for the dry step."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Continuous(Draw):
    shape: tuple[int, ...]

    def blank(self) -> Float[Tensor, ...]:
        return torch.full(self.shape, 0.5, dtype=torch.float64)


@dataclass(frozen=True)
class Normal(_Continuous):
    """Standard normal rows. With `pieces=r` a row is the sum of r rows of the same draw with pieces=1, over sqrt(r): a run of
    steps r times as long sees the same Brownian path.
    """

    pieces: int = 1

    def block(self, seed: Seed, number: int) -> Float[Tensor, "step ..."]:
        fine = [
            host.normal(seed, (self.steps, *self.shape), stream=self.stream, counter=number * self.pieces + piece)
            for piece in range(self.pieces)
        ]
        if self.pieces == 1:
            return fine[0]
        return torch.cat(fine).unflatten(0, (self.steps, self.pieces)).sum(1) / self.pieces**0.5


@dataclass(frozen=True)
class Uniform(_Continuous):
    """Uniform on [0, 1)."""

    def block(self, seed: Seed, number: int) -> Float[Tensor, "step ..."]:
        return host.uniform(seed, (self.steps, *self.shape), stream=self.stream, counter=number)


@dataclass(frozen=True)
class Exponential(_Continuous):
    """Exponential of mean 1."""

    def block(self, seed: Seed, number: int) -> Float[Tensor, "step ..."]:
        return _exponential(seed, (self.steps, *self.shape), self.stream, number)


@dataclass(frozen=True)
class Integers(Draw):
    """Independent uniform integers in {0, ..., high - 1}."""

    high: int
    shape: tuple[int, ...]

    def block(self, seed: Seed, number: int) -> Int[Tensor, "step ..."]:
        return host.integers(seed, self.high, (self.steps, *self.shape), stream=self.stream, counter=number)

    def blank(self) -> Int[Tensor, ...]:
        return torch.zeros(self.shape, dtype=torch.int64)


@dataclass(frozen=True)
class Epochs(Draw):
    """Consecutive batches of `size` of a fresh random order of n samples an epoch; an incomplete last batch is dropped."""

    n: int
    size: int

    @property
    def steps(self) -> int:
        return max(1, BLOCK_ENTRIES // self.n) * (self.n // self.size)

    def block(self, seed: Seed, number: int) -> Int[Tensor, "step size"]:
        per_epoch = self.n // self.size
        orders = _orders(seed, self.n, self.steps // per_epoch, self.stream, number)
        return orders[:, : per_epoch * self.size].unflatten(1, (per_epoch, self.size)).flatten(0, 1)

    def blank(self) -> Int[Tensor, " size"]:
        return torch.arange(self.size)


@dataclass(frozen=True)
class Subsets(Draw):
    """Independent uniform subsets of `size` of n samples, without repetition within a row (tau-nice sampling)."""

    n: int
    size: int

    @property
    def steps(self) -> int:
        return max(1, BLOCK_ENTRIES // self.n)

    def block(self, seed: Seed, number: int) -> Int[Tensor, "step size"]:
        return _orders(seed, self.n, self.steps, self.stream, number)[:, : self.size]

    def blank(self) -> Int[Tensor, " size"]:
        return torch.arange(self.size)


@dataclass(frozen=True)
class Stratified(Draw):
    """`each` independent uniform samples of every one of consecutive groups of the given sizes, group after group."""

    sizes: tuple[int, ...]
    each: int

    def block(self, seed: Seed, number: int) -> Int[Tensor, "step sample"]:
        chance = host.uniform(seed, (self.steps, len(self.sizes), self.each), stream=self.stream, counter=number)
        sizes = torch.tensor(self.sizes, device=chance.device)[:, None]
        offsets = torch.cumsum(sizes, 0) - sizes
        return (offsets + (chance * sizes).to(torch.int64)).flatten(1)

    def blank(self) -> Int[Tensor, " sample"]:
        first = np.cumsum([0, *self.sizes[:-1]])
        return torch.from_numpy(np.repeat(first, self.each))


def numbers(draw: Draw, seed: Seed, steps: int) -> Shaped[Tensor, "step ..."]:
    """The rows that a run of this seed sees in its first `steps` steps."""
    blocks = [draw.block(seed, number) for number in range(-(-steps // draw.steps))]
    return torch.cat(blocks)[:steps]


@host.seeded
def _exponential(seed: int, shape: tuple[int, ...], stream: str, counter: int) -> np.ndarray:
    return host.generator(seed, stream, counter).standard_exponential(shape)


@host.seeded
def _orders(seed: int, n: int, rows: int, stream: str, counter: int) -> np.ndarray:
    order = np.tile(np.arange(n), (rows, 1))
    return host.generator(seed, stream, counter).permuted(order, axis=1)
