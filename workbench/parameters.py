"""Arithmetic on *parameters*: a tensor, or a flat dict of tensors as `torch.func.functional_call` takes it.

Every function works on one run and under `torch.func.vmap`. A scalar is a number or a 0-dim tensor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Parameters: TypeAlias = Tensor | dict[str, Tensor]
Scalar: TypeAlias = float | Tensor


def concrete(value: Tensor) -> float | None:
    """The number in a 0-dim tensor, or None inside `torch.func.vmap`, where each run has its own."""
    try:
        return value.item()
    except RuntimeError:
        return None


def leaves(parameters: Parameters) -> list[Tensor]:
    """The tensors, in the dict's own order."""
    return list(parameters.values()) if isinstance(parameters, dict) else [parameters]


def tree_map(function: Callable[..., Tensor], *trees: Parameters) -> Parameters:
    """Apply `function` leaf by leaf to parameters of the same structure."""
    if isinstance(trees[0], dict):
        return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}  # type: ignore[index]
    return function(*trees)


def add_scaled(x: Parameters, scale: Scalar, y: Parameters) -> Parameters:
    """`x + scale * y`."""
    if isinstance(scale, (int, float)):
        return tree_map(lambda a, b: torch.add(a, b, alpha=scale), x, y)
    return tree_map(lambda a, b: a + scale * b, x, y)


def subtract(x: Parameters, y: Parameters) -> Parameters:
    """`x - y`."""
    return tree_map(torch.sub, x, y)


def scale(factor: Scalar, x: Parameters) -> Parameters:
    """`factor * x`."""
    return tree_map(lambda a: factor * a, x)


def zeros_like(x: Parameters) -> Parameters:
    """Zeros of the same structure."""
    return tree_map(torch.zeros_like, x)


def inner(x: Parameters, y: Parameters) -> Float[Tensor, ""]:
    """Euclidean inner product over all leaves; of complex leaves the real part, so that `inner(x, x)` is the sum of |x|^2."""
    total = None
    for a, b in zip(leaves(x), leaves(y), strict=True):
        if a.is_complex():
            a, b = torch.view_as_real(a), torch.view_as_real(b)
        term = (a * b).sum()
        total = term if total is None else total + term
    assert total is not None
    return total


def norm(x: Parameters) -> Float[Tensor, ""]:
    """Euclidean norm over all leaves, in float32 at least, right for entries whose squares leave the range of their type.

    Not for differentiation at zero: the square root has no derivative there.
    """
    scaled, size = _by_largest(x)
    return size * inner(scaled, scaled).sqrt()


def normalised(x: Parameters) -> Parameters:
    """`x / |x|`, of length 1 for every finite x but zero, and exactly zero there (SAM's convention: no gradient, no ascent,
    no move).
    """
    if isinstance(x, dict) and len(x) > 1 and len({(leaf.dtype, leaf.device) for leaf in x.values()}) == 1:
        # One vector costs a few operations instead of a few per leaf.
        return unravel(normalised(ravel(x)), x)  # type: ignore[arg-type]
    scaled, _ = _by_largest(x)
    # The square is 0 or at least 1.
    inverse = inner(scaled, scaled).clamp(min=0.5).rsqrt()

    def unit(leaf: Tensor, entries: Tensor) -> Tensor:
        entries = inverse * entries
        return torch.view_as_complex(entries.to(leaf.real.dtype)) if leaf.is_complex() else entries.to(leaf.dtype)

    return tree_map(unit, x, scaled)


def _by_largest(x: Parameters) -> tuple[Parameters, Tensor]:
    """The real entries over the largest one, in float32 at least, and that one; their squares are neither inf nor all zero."""
    real = tree_map(lambda leaf: torch.view_as_real(leaf) if leaf.is_complex() else leaf, x)
    wide = tree_map(lambda leaf: leaf.float() if leaf.dtype in (torch.float16, torch.bfloat16) else leaf, real)
    sizes = [leaf.abs().amax() for leaf in leaves(wide) if leaf.numel()]
    size = functools.reduce(torch.maximum, sizes) if sizes else leaves(wide)[0].new_ones(())
    # Over 1 where all are zero: the quotient and its derivative are then finite.
    size = torch.where(size == 0, 1.0, size)
    return tree_map(lambda leaf: leaf / size, wide), size


def largest(x: Parameters) -> Float[Tensor, ""]:
    """Largest absolute entry; NaN where an entry is NaN."""
    # Under vmap ten times faster than the infinity norm, and without a copy of the absolute values.
    maxima = [torch.maximum(leaf.amax(), -leaf.amin()) for leaf in leaves(x)]
    return functools.reduce(torch.maximum, maxima)


def where(condition: Tensor, x: Parameters, y: Parameters) -> Parameters:
    """`x` where the 0-dim `condition` holds, `y` elsewhere."""
    return tree_map(lambda a, b: torch.where(condition, a, b), x, y)


def count(x: Parameters) -> int:
    """Number of scalar parameters P."""
    return sum(leaf.numel() for leaf in leaves(x))


def ravel(x: Parameters) -> Float[Tensor, " parameter"]:
    """All entries as one vector, leaves in the dict's order."""
    return torch.cat([leaf.reshape(-1) for leaf in leaves(x)])


def unravel(vector: Float[Tensor, " parameter"], like: Parameters) -> Parameters:
    """Inverse of `ravel`, with the shapes of `like`. Raises ValueError when the length does not fit."""
    if vector.shape[-1] != count(like):
        raise ValueError(f"vector has {vector.shape[-1]} entries but the parameters have {count(like)}")
    pieces = torch.split(vector, [leaf.numel() for leaf in leaves(like)])
    shaped = [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves(like), strict=True)]
    return dict(zip(like, shaped, strict=True)) if isinstance(like, dict) else shaped[0]


def on_device(thing: Any, device: torch.device) -> Any:
    """A rule, an effective gradient or a schedule with the tensors in its fields on this device; anything else as it is.

    The values a sweep hands out are on the CPU, one per run, wherever the data are.
    """
    return with_tensors(thing, lambda tensor: tensor if tensor.device == device else tensor.to(device))


def with_tensors(thing: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A dataclass of dataclasses with the tensors in its fields changed; anything else as it is."""
    if isinstance(thing, Tensor):
        return change(thing)
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return thing
    fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing) if field.init}
    there = {name: with_tensors(value, change) for name, value in fields.items()}
    return thing if all(there[name] is value for name, value in fields.items()) else dataclasses.replace(thing, **there)
