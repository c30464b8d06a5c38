"""Numbers far from 1: powers of two that bring them near it, exactly."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.parameters import concrete

_USUAL = 24
"""Exponents of numbers that are left as they are: sums of their squares stay in the range of every dtype but float16's."""


def power_of_two(values: Tensor) -> Float[Tensor, ""]:
    """A power of two near the largest absolute value; 1 for usual numbers, zeros and what is not finite. Division by it is
    exact.

    In float32 the squares of numbers below 1e-22 and above 1e19 are 0 and infinite; of these they are neither.
    """
    largest = values.detach().abs().amax()
    bound = 0.9 * -math.log2(torch.finfo(values.dtype).tiny)
    number = concrete(largest)
    if number is not None:
        exponent = math.floor(math.log2(number)) if 0 < number < math.inf else 0
        exponent = 0 if abs(exponent) <= _USUAL else max(-bound, min(bound, exponent))
        return largest.new_tensor(2.0 ** math.floor(exponent))
    usual = torch.isfinite(largest) & (largest > 0)
    exponent = torch.log2(torch.where(usual, largest, 1.0)).floor().clamp(-bound, bound).floor()
    return torch.exp2(torch.where(exponent.abs() <= _USUAL, 0.0, exponent)).to(values.dtype)


def norm(values: Tensor, dim: int | None = None) -> Tensor:
    """The Euclidean norm, of numbers whose squares overflow or underflow too."""
    scale = power_of_two(values)
    scaled = values / scale
    return scale * (scaled.norm() if dim is None else scaled.norm(dim=dim))
