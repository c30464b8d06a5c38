"""The rows of a run's draws: which were asked for, and where they come from at each step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from workbench.draws.host import Seed
from workbench.draws.kinds import Draw, Exponential, Integers, Normal, Uniform

Request = tuple[Draw, int]
"""A draw and how many steps ago: 0 for this step's row, -1 for the one before (at the first step, its own)."""


class Draws:
    """The rows of one step. `row(draw)` asked twice gives the same numbers."""

    def __init__(
        self, lookup: Callable[[Request], Tensor], shift: int = 0, prefix: str = "", parent: Draws | None = None
    ) -> None:
        self._lookup, self._shift, self._prefix, self._parent = lookup, shift, prefix, parent
        self.used = False
        """Whether a row of these draws, or of draws made of them, has been asked for."""

    def row(self, draw: Draw) -> Shaped[Tensor, ...]:
        """This step's row of the draw."""
        asked: Draws | None = self
        while asked is not None:
            asked.used, asked = True, asked._parent
        named = replace(draw, stream=self._prefix + draw.stream) if self._prefix else draw
        return self._lookup((named, self._shift))

    def normal(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        """This step's row of `Normal(stream, shape)`."""
        return self.row(Normal(stream, shape))

    def uniform(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        """This step's row of `Uniform(stream, shape)`."""
        return self.row(Uniform(stream, shape))

    def exponential(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        """This step's row of `Exponential(stream, shape)`."""
        return self.row(Exponential(stream, shape))

    def integers(self, stream: str, high: int, shape: tuple[int, ...]) -> Tensor:
        """This step's row of `Integers(stream, high, shape)`."""
        return self.row(Integers(stream, high, shape))

    def previous(self) -> Draws:
        """The rows of the step before."""
        return Draws(self._lookup, -1, self._prefix, self)

    def named(self, name: str) -> Draws:
        """Rows of its own: those of the streams `name/...`."""
        return Draws(self._lookup, self._shift, f"{self._prefix}{name}/", self)


def rows_of(rows: dict[Request, Any]) -> Draws:
    """The draws that hold these rows. Raises ValueError for another request."""

    def lookup(request: Request) -> Tensor:
        if request not in rows:
            raise ValueError(
                f"the step asks for {request[0]!r}, which its dry step did not ask for: a step must ask for the same "
                "draws whatever the numbers are"
            )
        return rows[request]

    return Draws(lookup)


class Table:
    """The rows of a run with the given seed: for single steps, or for stretches of them. Keeps the last blocks drawn."""

    def __init__(self, seed: Seed, requests: Iterable[Request]) -> None:
        self.requests = tuple(dict.fromkeys(requests))
        self._block = functools.lru_cache(maxsize=2 * len(self.requests) + 2)(lambda draw, n: draw.block(seed, n))

    @property
    def row_bytes(self) -> int:
        """Bytes of one step's rows, for one run."""
        return sum(8 * max(1, draw.blank().numel()) for draw, _ in self.requests)

    def at(self, step: int) -> list[Tensor]:
        """The row of every request at a step."""
        return [self.stretch(request, step, 1)[0] for request in self.requests]

    def stretch(self, request: Request, first: int, count: int) -> Shaped[Tensor, "step ..."]:
        """The rows of the steps first, ..., first + count - 1."""
        draw, shift = request
        begin, end = first + shift, first + shift + count
        pieces = []
        if begin < 0:
            pieces, begin = [self._block(draw, 0)[:1]], 0
        while begin < end:
            number, offset = divmod(begin, draw.steps)
            piece = self._block(draw, number)[offset : offset + end - begin]
            pieces.append(piece)
            begin += piece.shape[0]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def stretches(self, request: Request, first: int, count: int, whole: int) -> list[Shaped[Tensor, "step ..."]]:
        """The rows of a stretch in pieces of a multiple of `whole` steps: copied only where a block of draws ends within one."""
        draw, shift = request
        pieces, done = [], 0
        while done < count:
            left = draw.steps - (first + done + shift) % draw.steps
            size = min(count - done, max(whole, left // whole * whole))
            pieces.append(self.stretch(request, first + done, size))
            done += size
        return pieces
