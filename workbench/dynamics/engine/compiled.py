"""Long runs: blocks of steps traced once, compiled, and called again and again.

Inside a sweep the tensors of a run are views into those of all runs. `advance` is an autograd function with a vmap rule of
its own: the rule receives the tensors of all runs at once, vmaps the block of steps over them, and compiles that.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from workbench.compiler import inductor_options
from workbench.dynamics.engine.rewriting import rewrite_for_cpu

log = logging.getLogger("workbench")

Function = Callable[..., tuple[Tensor, ...]]
Prepare = Callable[[Function, Hashable, Sequence[Tensor], Sequence[Tensor]], Function]
"""Makes a block of (function, key, its fixed tensors, the others of the first call) a function of the others."""
_cache: dict[Hashable, tuple[Function, Function]] = {}
"""Compiled and original function; the original keeps alive what the key knows by identity."""
_OPTIONS = {"cpp.max_horizontal_fusion_size": 1}
"""Side by side, the compiler would gather the minibatches of all steps of a block at once, which then fit in no cache."""


class NotTraceable(Exception):
    """The step is no fixed list of operations on its tensors."""


class _Sizes(NamedTuple):
    """How a flat list of tensors divides into fixed ones, carried ones and the pieces of each input, and how often to call."""

    fixed: int
    carry: int
    pieces: tuple[int, ...]
    blocks: int

    def split(self, things: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        end = self.fixed + self.carry
        return list(things[: self.fixed]), list(things[self.fixed : end]), list(things[end:])

    def first(self, inputs: Sequence[Any]) -> list[Any]:
        """The first piece of every input."""
        return [inputs[sum(self.pieces[:k])] for k in range(len(self.pieces))]

    def entries(self, inputs: Sequence[Tensor]) -> list[Iterator[Tensor]]:
        """Per input its entries, piece after piece."""
        flat = iter(inputs)
        return [chain.from_iterable(list(islice(flat, n))) for n in self.pieces]


class _Advance(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(  # type: ignore[override]
        function: Function, prepare: Prepare, key: Hashable, sizes: _Sizes, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        return _repeat(function, prepare, key, sizes, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: Any, function: Function, prepare: Prepare, key: Hashable, sizes: _Sizes, *tensors: Tensor
    ) -> Any:
        dims, runs = in_dims[4:], info.batch_size
        fixed, carry, inputs = sizes.split(tensors)
        fixed_dims, carry_dims, input_dims = sizes.split(dims)
        # The carry differs between runs after the first block, so it does from the start: one compilation, not two.
        carry = [
            leaf.expand(runs, *leaf.shape) if dim is None else leaf.movedim(dim, 0)
            for leaf, dim in zip(carry, carry_dims, strict=True)
        ]
        # Blocks stay in front, so that a block's share of the inputs is a slice.
        inputs = [leaf if dim is None else leaf.movedim(dim, 1) for leaf, dim in zip(inputs, input_dims, strict=True)]
        row_dims = (None if dim is None else 0 for dim in sizes.first(input_dims))
        inner = (*fixed_dims, *([0] * len(carry)), *row_dims)
        # Once more through apply: sweeps nest vmaps, and only the outermost one sees plain tensors.
        outer = torch.func.vmap(function, inner)
        outputs = _Advance.apply(outer, prepare, (key, inner), sizes, *fixed, *carry, *inputs)
        return outputs, tuple(0 for _ in outputs)


def compiled(function: Function, key: Hashable, fixed: Sequence[Tensor], others: Sequence[Tensor]) -> Function:
    """The block compiled, once for all runs of the same `key` and shapes."""
    arguments = [*fixed, *others]
    full_key = (key, tuple((tuple(leaf.shape), leaf.dtype, leaf.device) for leaf in arguments))
    if full_key not in _cache:
        _cache[full_key] = (_compile(function, arguments), function)
    return functools.partial(_cache[full_key][0], *fixed)


def advance(
    function: Function,
    key: Hashable,
    fixed: Sequence[Tensor],
    carry: Sequence[Tensor],
    inputs: Sequence[Sequence[Tensor]],
    blocks: int,
    prepare: Prepare = compiled,
) -> tuple[Tensor, ...]:
    """`carry = function(*fixed, *carry, *(leaf[k] for leaf in inputs))` for k = 0, ..., blocks - 1, with a function that
    `prepare` has made faster.

    `key` stands for everything the function depends on besides its arguments. An input comes in pieces, whose `blocks` entries
    follow one another.
    """
    sizes = _Sizes(len(fixed), len(carry), tuple(map(len, inputs)), blocks)
    return _Advance.apply(function, prepare, (key, "single"), sizes, *fixed, *carry, *chain.from_iterable(inputs))


def _repeat(
    function: Function, prepare: Prepare, key: Hashable, sizes: _Sizes, tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    # Prepared code is made for one memory layout.
    fixed, carry, inputs = ([leaf.detach() for leaf in part] for part in sizes.split(tensors))
    fixed, carry = ([leaf.contiguous() for leaf in part] for part in (fixed, carry))
    block: Function | None = None
    with torch.no_grad():
        entries = sizes.entries(inputs)
        for _ in range(sizes.blocks):
            others = [*carry, *(next(rows).contiguous() for rows in entries)]
            if block is None:
                block = prepare(function, key, fixed, others)
            carry = [leaf.contiguous() for leaf in block(*others)]
    return tuple(carry)


def _compile(function: Function, tensors: Sequence[Tensor]) -> Function:
    """Trace into a graph of primitive operations, then compile that; the function itself where this fails."""
    try:
        with torch.no_grad():
            module = make_fx(function)(*tensors)
            expected = function(*tensors)
            if not all(map(same, expected, function(*tensors))):
                raise NotTraceable("two calls of the step differ: something that it looks at is not among its tensors")
            if all(leaf.device.type == "cpu" for leaf in tensors):
                rewrite_for_cpu(module)
            block = torch._inductor.compile(module, list(tensors), options=inductor_options() | _OPTIONS)
            if not all(map(_agree, block(*tensors), expected)):
                raise RuntimeError("the compiled steps do not compute what the steps compute (please report this)")
            return block
    except NotTraceable:
        raise
    except Exception as error:
        log.warning(
            "going on without torch.compile: %s", str(error).splitlines()[0] if str(error) else type(error).__name__
        )
        return function


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether most entries agree beyond half of their digits: where runs blow up, rounding alone takes the others apart."""
    if not other.is_floating_point():
        return True
    near = torch.isclose(one, other, rtol=torch.finfo(other.dtype).eps ** 0.5, atol=0, equal_nan=True)
    return bool(near.sum() * 2 >= near.numel())


def same(one: Tensor, other: Tensor) -> bool:
    """Whether all entries agree, NaN with NaN."""
    return bool(((one == other) | ((one != one) & (other != other))).all())
