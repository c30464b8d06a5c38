"""A function at many points at once, or one after the other where torch.func.vmap cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as tree

from .door import transformed
from .refusals import in_words
from .substitution import untouched


def each(
    function: Callable,
    *arguments: Any,
    in_dims: Any = 0,
    chunk: int | None = None,
    purpose: str = "this function",
    models: Sequence[nn.Module] = (),
) -> Any:
    """`torch.func.vmap(function)(*arguments)`; outside transforms by a loop where an operation has no batching rule.

    Raises:
        ValueError: no batching rule, inside a sweep, where there is no loop instead.
    """
    with in_words(purpose) if transformed() else contextlib.nullcontext():
        try:
            # What the models store meanwhile must be gone before a loop.
            with untouched(*models):
                return torch.func.vmap(function, in_dims=in_dims, chunk_size=chunk)(*arguments)
        except torch.OutOfMemoryError:
            raise
        # pyrefly: ignore[unreachable-except-clause]
        except (RuntimeError, NotImplementedError, IndexError, TypeError, ValueError):
            if transformed():
                raise
    dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(arguments)
    count = next(len(tree.tree_leaves(entry)[0]) for entry, dim in zip(arguments, dims, strict=True) if dim == 0)

    def part(index: int) -> list[Any]:
        return [
            entry if dim is None else tree.tree_map(lambda leaf: leaf[index], entry)
            for entry, dim in zip(arguments, dims, strict=True)
        ]

    results = [function(*part(index)) for index in range(count)]
    return tree.tree_map(lambda *leaves: torch.stack(leaves), *results)
