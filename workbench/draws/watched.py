"""Random numbers that are not drawn by a seed: found where a function is called once for many runs."""

from __future__ import annotations

import contextlib
import functools
import pickle
import random
import secrets
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


class HostNumbers:
    """Watches the calls of a function that stands for many runs at once."""

    def __init__(self, function: Callable) -> None:
        self._watched = list(_generators(function))

    def refused(self, call: Callable[[], T]) -> T:
        """`call()`, which evaluates the function. Raises ValueError when it used NumPy's, Python's or torch's generators: the
        global ones, one that the function holds, or a new one without a seed. All runs of a chunk would share their numbers.
        """
        for attempt in range(2):
            before, modules, fresh = _states(self._watched), len(sys.modules), []
            with _unseeded(fresh):
                result = call()
            after = _states(self._watched)
            used = list(dict.fromkeys([name for name in before if before[name] != after[name]] + fresh))
            if not used:
                return result
            if attempt == 0 and len(sys.modules) > modules:
                continue  # a library that was imported on the way may have drawn; it will not again
            raise ValueError(
                f"the swept function draws from {' and '.join(used)}: it is called once for all runs of a chunk, which would "
                "share the numbers; use wb.draws.normal(seed, ...), whose numbers follow the run's seed"
            )
        raise AssertionError("unreachable")


_LOOKED_AT = 2000
"""Objects within reach of a swept function that are searched for generators."""


def _generators(function: Callable) -> Iterator[tuple[str, Any]]:
    """Generators that a function holds: in its closure, defaults, bound object, globals that it names, and inside those."""
    waiting, seen = [("", function)], set()
    while waiting and len(seen) < _LOOKED_AT:
        name, thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)):
            yield f"{name or 'a generator'} ({type(thing).__module__}.{type(thing).__qualname__})", thing
        elif isinstance(thing, functools.partial):
            waiting += [("", thing.func), *_named(thing.keywords), *(("", value) for value in thing.args)]
        elif isinstance(thing, types.MethodType):
            waiting += [("", thing.__self__), ("", thing.__func__)]
        elif isinstance(thing, types.FunctionType):
            waiting += _held(thing)
        elif isinstance(thing, (list, tuple, set)):
            waiting += [(name, value) for value in thing]
        elif isinstance(thing, Mapping):
            waiting += _named(thing)
        elif not isinstance(thing, (type, types.ModuleType, Tensor, np.ndarray)):
            waiting += _named(getattr(thing, "__dict__", {}))


def _held(function: types.FunctionType) -> list[tuple[str, Any]]:
    if (function.__module__ or "").partition(".")[0] in ("workbench", "torch", "numpy"):
        return []
    code, found = function.__code__, _named(function.__kwdefaults__ or {})
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a name that has no value yet
            found.append((name, cell.cell_contents))
    named = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    return [*found, *_named(named), *(("", value) for value in function.__defaults__ or ())]


def _named(values: Mapping) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in list(values.items())]


def _states(watched: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    everywhere = [("numpy.random", np.random.mtrand._rand), ("random", random._inst), *watched]  # type: ignore[attr-defined]
    return {name: _state(generator) for name, generator in everywhere}


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return pickle.dumps(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        # With the second number of a pair of normal ones, which waits for the next call.
        whole = generator.get_state(legacy=False)
        state, waiting = whole["state"], (whole["has_gauss"], whole["gauss"])
        return (state["key"].tobytes(), state["pos"], waiting) if "key" in state else pickle.dumps(whole)
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state().numpy().tobytes()


@contextlib.contextmanager
def drawn_by_seed() -> Iterator[None]:
    """Inside, no new generator is noted: `numpy.random.RandomState(seed)` draws entropy before it takes its seed."""
    source = np.random.bit_generator
    noted = getattr(source, "randbits", None)
    if noted is None:
        yield
        return
    source.randbits = secrets.randbits  # type: ignore[attr-defined]
    try:
        yield
    finally:
        source.randbits = noted  # type: ignore[attr-defined]


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def _unseeded(fresh: list[str]) -> Iterator[None]:
    """Notes when NumPy seeds a new generator from the machine's entropy.

    RandomState(seed) draws entropy too, which its seed then replaces: told apart by the arguments of the call.
    """
    source = np.random.bit_generator
    original = getattr(source, "randbits", None)
    if original is None:
        yield
        return

    def noted(bits: int) -> int:
        caller = sys._getframe(1)
        arguments = caller.f_code.co_code[caller.f_lasti + 1]
        if "RandomState" not in caller.f_code.co_names or not arguments:
            fresh.append("a new NumPy generator without a seed")
        return original(bits)

    source.randbits = noted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        source.randbits = original  # type: ignore[attr-defined]
