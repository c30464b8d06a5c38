"""Redraw of every explorer at a slider's release: median and slowest of 12 moves, first drawing apart."""

from __future__ import annotations

import importlib
import statistics
import time
from typing import Any

from workbench import papers
from workbench.explorers import Control, Explorer

MOVES = 12


def rows() -> list[dict[str, object]]:
    """One row per explorer. Each move takes every control in turn to another value; CPU milliseconds, one thread."""
    found: list[dict[str, object]] = []
    for module, name in papers.explorers().items():
        loaded = importlib.import_module(name)
        start = time.process_time()
        shown = loaded.explorer()
        first = time.process_time() - start
        seconds = [_timed(shown, move) for move in range(MOVES)]
        found.append(
            {
                "explorer": module,
                "first (ms)": f"{1e3 * first:.0f}",
                "median (ms)": f"{1e3 * statistics.median(seconds):.0f}",
                "slowest (ms)": f"{1e3 * max(seconds):.0f}",
            }
        )
    return found


def _timed(shown: Explorer, move: int) -> float:
    shown.reset()
    controls = list(shown.controls.values())
    control = controls[move % len(controls)]
    value = _other(control, shown.values[control.name], move // len(controls))
    start = time.process_time()
    shown.set(**{control.name: value})
    return time.process_time() - start


def _other(control: Control, value: Any, turn: int) -> Any:
    if control.kind == "choice":
        others = [choice for choice in control.choices if choice != value]
        return others[turn % len(others)]
    share = (0.3, 0.7, 0.5)[turn % 3]
    if control.kind == "log":
        return control.low ** (1 - share) * control.high**share
    between = control.low + share * (control.high - control.low)
    return round(between) if control.kind == "int" else between
