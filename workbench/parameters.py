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
    """Euclidean inner product over all leaves."""
    total = None
    for a, b in zip(leaves(x), leaves(y), strict=True):
        term = (a * b).sum()
        total = term if total is None else total + term
    assert total is not None
    return total


def norm(x: Parameters) -> Float[Tensor, ""]:
    """Euclidean norm over all leaves. Not for differentiation at zero: the square root has no derivative there."""
    return inner(x, x).sqrt()


def normalised(x: Parameters) -> Parameters:
    """`x / |x|`, and exactly zero where `x` is zero (SAM's convention: no gradient, no ascent, no move)."""
    length = norm(x)
    return scale(torch.where(length > 0, length, torch.inf).reciprocal(), x)


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
    if isinstance(thing, Tensor):
        return thing if thing.device == device else thing.to(device)
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return thing
    fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing) if field.init}
    there = {name: on_device(value, device) for name, value in fields.items()}
    return thing if all(there[name] is value for name, value in fields.items()) else dataclasses.replace(thing, **there)
