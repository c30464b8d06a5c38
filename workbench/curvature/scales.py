"""Numbers far from 1: powers of two that bring them near it, exactly."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def power_of_two(values: Tensor) -> Float[Tensor, ""]:
    """A power of two near the largest absolute value; 1 for zeros and for what is not finite. Division by it is exact.

    In float32 the squares of numbers below 1e-22 and above 1e19 are 0 and infinite; of these they are neither.
    """
    largest = values.detach().abs().amax()
    usual = torch.isfinite(largest) & (largest > 0)
    bound = 0.9 * -torch.log2(torch.tensor(torch.finfo(values.dtype).tiny, dtype=torch.float64)).item()
    exponent = torch.log2(torch.where(usual, largest, 1.0)).floor().clamp(-bound, bound)
    return torch.exp2(exponent).to(values.dtype)


def norm(values: Tensor, dim: int | None = None) -> Tensor:
    """The Euclidean norm, of numbers whose squares overflow or underflow too."""
    scale = power_of_two(values)
    scaled = values / scale
    return scale * (scaled.norm() if dim is None else scaled.norm(dim=dim))
