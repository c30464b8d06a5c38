"""Long runs: blocks of steps traced once, compiled, and called again and again.

Inside a sweep the tensors of a run are views into those of all runs. `advance` is an autograd function with a vmap rule of
its own: the rule receives the tensors of all runs at once, vmaps the block of steps over them, and compiles that.
"""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

log = logging.getLogger("workbench")

Function = Callable[..., tuple[Tensor, ...]]
_cache: dict[Hashable, tuple[Function, Function]] = {}
"""Compiled and original function; the original keeps alive what the key knows by identity."""


@functools.cache
def compiler_found() -> bool:
    """Whether a C++ compiler is at hand."""
    found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    if not found:
        log.warning("no C++ compiler found: long runs go on without torch.compile")
    return found


class _Advance(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(function: Function, key: Hashable, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return _call(function, (key, "single"), tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        function, key, *tensors = arguments
        dims = in_dims[2:]
        # Once more through apply: sweeps nest vmaps, and only the outermost one sees plain tensors.
        outputs = _Advance.apply(torch.func.vmap(function, dims), (key, dims), *tensors)
        return outputs, tuple(0 for _ in outputs)


def advance(function: Function, key: Hashable, *tensors: Tensor) -> tuple[Tensor, ...]:
    """`function(*tensors)`, compiled. `key` stands for everything the function depends on besides its arguments."""
    return _Advance.apply(function, key, *tensors)


def _call(function: Function, key: Hashable, tensors: Any) -> tuple[Tensor, ...]:
    # Compiled code is made for one memory layout.
    tensors = tuple(tensor.contiguous() for tensor in tensors)
    full_key = (key, tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in tensors))
    if full_key not in _cache:
        _cache[full_key] = (_compile(function, tensors), function)
    with torch.no_grad():
        return tuple(_cache[full_key][0](*tensors))


def _compile(function: Function, tensors: Any) -> Function:
    """Trace into a graph of primitive operations, then compile that; the function itself where this fails."""
    try:
        with torch.no_grad():
            graph = make_fx(function)(*tensors)
            return torch._inductor.compile(graph, list(tensors))
    except Exception as error:
        log.warning(
            "going on without torch.compile: %s", str(error).splitlines()[0] if str(error) else type(error).__name__
        )
        return function
