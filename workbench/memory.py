"""How much memory a computation may take, decided before it starts.

`require` is called by whatever is about to allocate something large, with its size *for one run*. Alone, it refuses what
does not fit. Inside a sweep it tells the sweep how many runs fit at once, and the sweep starts that chunk again, smaller.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator

import psutil

_FRACTION = 0.3
_runs: contextvars.ContextVar[int] = contextvars.ContextVar("runs", default=1)
_limit: contextvars.ContextVar[float | None] = contextvars.ContextVar("limit", default=None)


class OutOfBudget(MemoryError, ValueError):
    """Refused before computing: the message gives the size and what to use instead."""


class ChunkTooLarge(Exception):
    """Raised inside a sweep when only `runs` runs fit at once. Caught by the sweep."""

    def __init__(self, runs: int) -> None:
        super().__init__(f"only {runs} runs fit in memory at once")
        self.runs = runs


def budget() -> float:
    """Bytes one computation may take: `WORKBENCH_MEMORY` (GiB) if set, else 30 % of the memory available now."""
    limit = _limit.get()
    if limit is not None:
        return limit
    text = os.environ.get("WORKBENCH_MEMORY")
    if not text:
        return _FRACTION * psutil.virtual_memory().available
    try:
        gibibytes = float(text)
    except ValueError:
        gibibytes = -1.0
    if not 0 < gibibytes < float("inf"):
        raise ValueError(f"WORKBENCH_MEMORY must be a positive number of GiB, got {text!r}")
    return gibibytes * 2**30


def share() -> float:
    """Bytes for each of the runs that are computed at once."""
    return budget() / _runs.get()


def require(size: float, what: str, instead: str = "") -> None:
    """Refuse to go on when `size` bytes for one run do not fit.

    `what` names the thing ("a dense 50,000 x 50,000 Hessian"), `instead` what the user can do about it.
    Raises OutOfBudget (a MemoryError and a ValueError).
    """
    allowed, runs = budget(), _runs.get()
    if size * runs <= allowed:
        return
    if size > allowed:
        advice = f" {instead}" if instead else ""
        raise OutOfBudget(f"{what} needs {_readable(size)}, more than the budget of {_readable(allowed)}.{advice}")
    raise ChunkTooLarge(max(1, int(allowed // size)))


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def sharing(runs: int, limit: float | None = None) -> Iterator[None]:
    """Within this block, `runs` runs share the budget (`limit` bytes if given)."""
    tokens = (_runs.set(runs), _limit.set(limit if limit is not None else _limit.get()))
    try:
        yield
    finally:
        _runs.reset(tokens[0])
        _limit.reset(tokens[1])


def _readable(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
