"""Central differences as a witness against derivatives that are wrong without a word."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def probe(like: Tensor) -> Tensor:
    """A fixed random direction [P] with largest entry 1."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(like.numel(), generator=generator, dtype=torch.float64).to(like)
    return direction / direction.abs().amax()


def contradiction(
    claimed: Tensor, function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor
) -> float | None:
    """How far (relative) the derivative `claimed` of `function` along `direction` is from its differences, if that is certain.

    Certain means that differences of two sizes agree with each other and not with the claim: at kinks and in rounding noise
    they disagree with each other. In single precision kinks of many samples average to a curvature of their own; there only
    large gaps count.
    """
    step = torch.finfo(point.dtype).eps ** (1 / 3) * float(point.abs().amax().clamp(min=1e-3))

    def differences(size: float) -> Tensor:
        return (function(point + size * direction) - function(point - size * direction)) / (2 * size)

    wide, near = differences(step), differences(step / 4)
    scale = torch.maximum(claimed.norm(), near.norm())
    off = torch.minimum((wide - claimed).norm(), (near - claimed).norm())
    allowed = 1e-4 if point.dtype == torch.float64 else 0.1
    if bool(off > allowed * scale) and bool((wide - near).norm() < 0.3 * off):
        return float(off / scale)
    return None
