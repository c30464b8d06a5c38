"""Random numbers as pure functions of a seed, the same for one run and for thousands.

A seed is an int or a 0-dim int tensor. Under `torch.func.vmap` the seed may differ from run to run: each run then gets
exactly the numbers it would get alone, however the runs were grouped into chunks. NumPy's PCG64, seeded with the SHA-256 of
(seed, stream, counter), makes the draws: two of them never share numbers, nor do they with generators that NumPy's user seeds
with the same number, and they are equal to the bit on every machine (torch's normal draws depend on the vector width of the
processor).

`stream` names the purpose ("initial", "batches", ...), so that two draws of one run never share numbers; `counter` is a
host integer, e.g. the epoch.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import memory
from workbench.checks import require_count
from workbench.draws.watched import drawn_by_seed

_CACHE_BYTES = 64 << 20
"""All draws kept: a sweep asks for the same small draw once per grid point of a seed. A 64th of them is the largest."""

Seed = int | Tensor


class _PerSeed(torch.autograd.Function):
    """Calls a host function of an integer seed; under vmap, once per run."""

    generate_vmap_rule = False

    @staticmethod
    def forward(seed: Tensor, host: Callable[[int], np.ndarray], device: torch.device) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(np.array(host(int(seed)))).to(device)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        seed, host, device = arguments
        runs = seed.movedim(in_dims[0], 0)
        try:
            seeds = runs.tolist()
        except RuntimeError:  # the seed also varies over an outer vmap, whose turn comes next
            return torch.stack([_PerSeed.apply(run, host, device) for run in runs.unbind(0)]), 0
        return torch.from_numpy(_stacked(seeds, host)).to(device), 0


def _stacked(seeds: list[int], host: Callable[[int], np.ndarray]) -> np.ndarray:
    """The draws of all seeds, each drawn once and put in its place at once: many small arrays at a time would fill no cache."""
    first = np.asarray(host(seeds[0]))
    rows, places = np.empty((len(seeds), *first.shape), first.dtype), {seeds[0]: 0}
    rows[0] = first
    for k, seed in enumerate(seeds[1:], 1):
        rows[k] = rows[places[seed]] if seed in places else host(seed)
        places.setdefault(seed, k)
    return rows


def seeded(function: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
    """Turn `function(seed: int, *static) -> numpy array` into one that also accepts a vmapped seed.

    The static arguments must be hashable. The result is a tensor of the array's dtype.

    >>> @seeded
    ... def two_numbers(seed):
    ...     return np.random.RandomState(seed).randn(2)
    >>> torch.func.vmap(two_numbers)(torch.tensor([3, 4])).shape
    torch.Size([2, 2])
    """
    signature = inspect.signature(function)

    def host(seed: int, static: tuple, named: tuple) -> np.ndarray:
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        with drawn_by_seed():
            return _kept((function, seed, static, named), lambda: function(seed, *static, **dict(named)))

    @functools.wraps(function)
    def draw(seed: Seed, *static: Any, **named: Any) -> Tensor:
        signature.bind(seed, *static, **named)
        tensor = _seed(seed)
        device = seed.device if isinstance(seed, Tensor) else torch.device("cpu")
        return _PerSeed.apply(tensor, functools.partial(host, static=static, named=tuple(named.items())), device)

    return draw


_cache: OrderedDict[Hashable, np.ndarray] = OrderedDict()
_held = 0


def _kept(key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array made for this key, from the cache where it is there: the latest ones, within bytes and the memory budget."""
    global _held
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    array = make()
    room = min(_CACHE_BYTES, memory.budget() / 16)
    if array.nbytes <= room / 64:
        _cache[key] = array
        # Some hundred bytes each, for the key and the array itself.
        _held += array.nbytes + 512
        while _held > room:
            _held -= _cache.popitem(last=False)[1].nbytes + 512
    return array


def _seed(seed: Seed) -> Tensor:
    """The seed as a 0-dim int64 tensor. Raises ValueError for anything but a whole number below 2^63."""
    if isinstance(seed, Tensor):
        whole = seed.dim() == 0 and not (seed.is_floating_point() or seed.is_complex() or seed.dtype == torch.bool)
    else:
        whole = isinstance(seed, Integral) and not isinstance(seed, bool) and int(seed) < 2**63
    if not whole:
        raise ValueError(
            f"seed must be an int below 2^63 or a 0-dim integer tensor, got {seed!r}; use wb.sweep for many seeds"
        )
    if isinstance(seed, Tensor):
        return seed.as_subclass(Tensor).to(torch.int64)
    # pyrefly: ignore[unnecessary-type-conversion]
    return torch.tensor(max(int(seed), -1))


def generator(seed: int, stream: str = "", counter: int = 0) -> np.random.Generator:
    """The NumPy generator behind all draws of (seed, stream, counter)."""
    # pyrefly: ignore[unnecessary-type-conversion]
    words = hashlib.sha256(f"workbench {int(seed)} {int(counter)} {stream}".encode()).digest()
    return np.random.default_rng(np.frombuffer(words, dtype="<u4"))


@seeded
def _normal(seed: int, shape: tuple[int, ...], stream: str, counter: int) -> np.ndarray:
    return generator(seed, stream, counter).standard_normal(shape)


@seeded
def _uniform(seed: int, shape: tuple[int, ...], stream: str, counter: int) -> np.ndarray:
    return generator(seed, stream, counter).random(shape)


@seeded
def _integers(seed: int, high: int, shape: tuple[int, ...], stream: str, counter: int) -> np.ndarray:
    return generator(seed, stream, counter).integers(0, high, shape)


@seeded
def _permutation(seed: int, n: int, stream: str, counter: int) -> np.ndarray:
    return generator(seed, stream, counter).permutation(n)


def normal(
    seed: Seed, shape: tuple[int, ...], *, stream: str = "", counter: int = 0, dtype: torch.dtype = torch.float64
) -> Float[Tensor, ...]:
    """Standard normal numbers of the given shape."""
    return _normal(seed, _shape(shape), stream, _counter(counter)).to(_floating(dtype))


def uniform(
    seed: Seed,
    shape: tuple[int, ...],
    *,
    low: float = 0.0,
    high: float = 1.0,
    stream: str = "",
    counter: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, ...]:
    """Uniform numbers on [low, high), in the given dtype too. Raises ValueError where it has no number there."""
    drawn = low + (high - low) * _uniform(seed, _shape(shape), stream, _counter(counter))
    rounded = drawn.to(_floating(dtype))
    if (low, high) == (0.0, 1.0) and dtype == torch.float64:
        return rounded
    # Rounding, of the sum and to the dtype, may reach beyond either end.
    least, most = _inside(low, dtype, 1), _inside(high, dtype, -1)
    if not least <= most:
        raise ValueError(f"low and high must have a number of {dtype} between them, got low={low!r}, high={high!r}")
    return rounded.clamp(least, most)


def signs(
    seed: Seed, shape: tuple[int, ...], *, stream: str = "", counter: int = 0, dtype: torch.dtype = torch.float64
) -> Float[Tensor, ...]:
    """Fair coins in {-1, +1} (Rademacher)."""
    return (2 * _integers(seed, 2, _shape(shape), stream, _counter(counter)) - 1).to(dtype)


def integers(seed: Seed, high: int, shape: tuple[int, ...], *, stream: str = "", counter: int = 0) -> Int[Tensor, ...]:
    """Uniform integers in {0, ..., high - 1}."""
    require_count("high", high)
    # pyrefly: ignore[unnecessary-type-conversion]
    return _integers(seed, int(high), _shape(shape), stream, _counter(counter))


def permutation(seed: Seed, n: int, *, stream: str = "", counter: int = 0) -> Int[Tensor, " n"]:
    """A uniform permutation of 0..n-1."""
    require_count("n", n, 0)
    # pyrefly: ignore[unnecessary-type-conversion]
    return _permutation(seed, int(n), stream, _counter(counter))


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, Integral) and int(n) >= 0 for n in shape):
        raise ValueError(f"shape must be a tuple of whole numbers such as (3,), got {shape!r}")
    return tuple(int(n) for n in shape)


def _counter(counter: object) -> int:
    if isinstance(counter, Tensor):
        raise ValueError(
            "counter must be an int known outside the sweep: name its axis in static=, or draw by the seed"
        )
    require_count("counter", counter, 0)
    return int(counter)  # type: ignore[call-overload]


def _floating(dtype: torch.dtype) -> torch.dtype:
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating type, got {dtype}; for whole numbers use draws.integers")
    return dtype


def _inside(end: float, dtype: torch.dtype, towards: int) -> float:
    """The first number of the dtype at or above `end` (towards=1), or below it (towards=-1)."""
    nearest = torch.tensor(end, dtype=dtype)
    outside = nearest.double() < end if towards > 0 else nearest.double() >= end
    if outside:
        nearest = torch.nextafter(nearest, torch.tensor(towards * torch.inf, dtype=dtype))
    return float(nearest)
