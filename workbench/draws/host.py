"""Every random number of the workbench: pure functions of a seed, the same for one run and for thousands.

A seed is an int or a 0-dim int tensor. Under `torch.func.vmap` the seed may differ from run to run: each run then gets
exactly the numbers it would get alone, however the runs were grouped into chunks. NumPy's PCG64 seeded through
`SeedSequence(seed, stream, counter)` makes the draws, because its streams are independent by construction and equal to
the bit on every machine (torch's normal draws depend on the vector width of the processor).

`stream` names the purpose ("initial", "batches", ...), so that two draws of one run never share numbers; `counter` is a
host integer, e.g. the epoch.
"""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_CACHE_ENTRIES = 4096
_CACHE_BYTES = 1 << 20
"""Arrays above this many bytes are not kept: a sweep asks for the same small draw once per grid point of a seed."""

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
        drawn = {seed: host(seed) for seed in dict.fromkeys(seeds)}
        return torch.from_numpy(np.stack([drawn[seed] for seed in seeds])).to(device), 0


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

    @functools.lru_cache(maxsize=_CACHE_ENTRIES)
    def small(seed: int, static: tuple, named: tuple) -> np.ndarray | None:
        array = function(seed, *static, **dict(named))
        return array if array.nbytes <= _CACHE_BYTES else None

    def host(seed: int, static: tuple, named: tuple) -> np.ndarray:
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        kept = small(seed, static, named)
        return function(seed, *static, **dict(named)) if kept is None else kept

    @functools.wraps(function)
    def draw(seed: Seed, *static: Any, **named: Any) -> Tensor:
        signature.bind(seed, *static, **named)
        whole = seed.dim() == 0 and not seed.is_floating_point() if isinstance(seed, Tensor) else _is_int(seed)
        if not whole:
            raise ValueError(
                f"seed must be an int or a 0-dim integer tensor, got {seed!r}; use wb.sweep for many seeds"
            )
        if not isinstance(seed, Tensor) and seed >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {seed}; use seed % 2**63")
        device = seed.device if isinstance(seed, Tensor) else torch.device("cpu")
        tensor = torch.as_tensor(seed, dtype=torch.int64)
        return _PerSeed.apply(tensor, functools.partial(host, static=static, named=tuple(named.items())), device)

    return draw


def _is_int(seed: object) -> bool:
    return isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)


def generator(seed: int, stream: str = "", counter: int = 0) -> np.random.Generator:
    """The NumPy generator behind all draws of (seed, stream, counter)."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(stream.encode()), counter]))


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
    return _normal(seed, tuple(shape), stream, counter).to(dtype)


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
    """Uniform numbers on [low, high)."""
    return (low + (high - low) * _uniform(seed, tuple(shape), stream, counter)).to(dtype)


def signs(
    seed: Seed, shape: tuple[int, ...], *, stream: str = "", counter: int = 0, dtype: torch.dtype = torch.float64
) -> Float[Tensor, ...]:
    """Fair coins in {-1, +1} (Rademacher)."""
    return (2 * _integers(seed, 2, tuple(shape), stream, counter) - 1).to(dtype)


def integers(seed: Seed, high: int, shape: tuple[int, ...], *, stream: str = "", counter: int = 0) -> Int[Tensor, ...]:
    """Uniform integers in {0, ..., high - 1}."""
    return _integers(seed, high, tuple(shape), stream, counter)


def permutation(seed: Seed, n: int, *, stream: str = "", counter: int = 0) -> Int[Tensor, " n"]:
    """A uniform permutation of 0..n-1."""
    return _permutation(seed, n, stream, counter)
