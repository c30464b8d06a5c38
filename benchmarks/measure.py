"""Timing: warmed up, alternating order, medians of process CPU time."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable


def compare(contenders: dict[str, Callable[[], object]], repeats: int = 5, warmups: int = 1) -> dict[str, float]:
    """Median CPU seconds of each contender. They take turns, so that a drift of the machine's speed hits all of them."""
    for _ in range(warmups):
        for call in contenders.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            start = time.process_time()
            contenders[name]()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def once(call: Callable[[], object]) -> float:
    """CPU seconds of a single call, for contenders too slow to repeat."""
    start = time.process_time()
    call()
    return time.process_time() - start


def available(module: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(module) is not None


def row(what: str, ours: float, peer: str, theirs: float | None, note: str = "") -> dict[str, object]:
    """A row of the results table; `theirs=None` for a peer that cannot be imported."""
    return {
        "what": what,
        "workbench (CPU s)": f"{ours:.3g}",
        "peer": peer,
        "peer (CPU s)": "not installed" if theirs is None else f"{theirs:.3g}",
        "peer / workbench": "" if theirs is None else f"{theirs / ours:.3g}",
        "note": note,
    }
