"""Which samples each step sees, as a pure function of the seed and the step."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench import draws
from workbench.draws import Seed

Sampling = Literal["epoch", "replacement"]
_BLOCK_ENTRIES = 4096


@draws.seeded
def _permutations(seed: int, n: int, rows: int, counter: int) -> np.ndarray:
    order = np.tile(np.arange(n), (rows, 1))
    return draws.generator(seed, "batches", counter).permuted(order, axis=1)


class Minibatches:
    """`indices(step)` gives the minibatch of that step.

    "epoch": every epoch visits the samples in a fresh random order, in consecutive batches; an incomplete last batch is
    dropped. "replacement": uniform independent samples; with `strata` (sizes of consecutive groups of samples), equally
    many from each, group after group.
    Raises ValueError when batch_size is not in 1..n or no multiple of the number of strata, or the sampling is unknown.
    """

    def __init__(
        self, seed: Seed, n: int, batch_size: int, sampling: Sampling = "epoch", strata: tuple[int, ...] = ()
    ) -> None:
        if sampling not in get_args(Sampling):
            raise ValueError(f"sampling must be one of {', '.join(get_args(Sampling))}, got {sampling!r}")
        if n == 0:
            raise ValueError("batch_size was given, but the problem has no samples; leave it out")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not batch_size >= 1:
            raise ValueError(f"batch_size must be an int >= 1, got {batch_size!r}; sweep it with static=['batch_size']")
        if sampling == "epoch" and batch_size > n:
            raise ValueError(f"batch_size must be at most the number of samples {n}, got {batch_size}")
        if strata and (sampling != "replacement" or batch_size % len(strata)):
            raise ValueError(
                f"a problem with {len(strata)} strata needs sampling='replacement' and a batch_size that they divide, "
                f"got sampling={sampling!r} and batch_size={batch_size}"
            )
        self.seed, self.n, self.batch_size, self.sampling, self.strata = seed, n, batch_size, sampling, strata
        self.per_epoch = max(1, n // batch_size)
        row = n if sampling == "epoch" else batch_size
        self._rows = max(1, _BLOCK_ENTRIES // row)
        self._block: tuple[int, Tensor] | None = None

    def indices(self, step: int) -> Int[Tensor, " batch"]:
        """Indices of the samples of step `step` (counted from 0)."""
        if self.sampling == "replacement":
            return self._row(step)
        epoch, position = divmod(step, self.per_epoch)
        return self._row(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def _row(self, row: int) -> Tensor:
        number, offset = divmod(row, self._rows)
        if self._block is None or self._block[0] != number:
            if self.sampling == "epoch":
                block = _permutations(self.seed, self.n, self._rows, number)
            elif self.strata:
                block = self._stratified(number)
            else:
                shape = (self._rows, self.batch_size)
                block = draws.integers(self.seed, self.n, shape, stream="batches", counter=number)
            self._block = (number, block)
        return self._block[1][offset]

    def _stratified(self, number: int) -> Tensor:
        each = self.batch_size // len(self.strata)
        shape = (self._rows, len(self.strata), each)
        chance = draws.uniform(self.seed, shape, stream="batches", counter=number)
        sizes = torch.tensor(self.strata, device=chance.device)[:, None]
        offsets = torch.cumsum(sizes, 0) - sizes
        return (offsets + (chance * sizes).to(torch.int64)).flatten(1)
