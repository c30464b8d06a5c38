"""Central differences as a witness against derivatives that are wrong without a word."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_NOISE = 100.0
"""Rounding errors of a function, in units of its dtype's epsilon, that a difference may carry."""


def probe(like: Tensor) -> Tensor:
    """A fixed random direction [P] with largest entry 1."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(like.numel(), generator=generator, dtype=torch.float64).to(like)
    return direction / direction.abs().amax()


def contradiction(
    claimed: Tensor, function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor
) -> float | None:
    """How far (relative) the derivative `claimed` of `function` along `direction` is from its differences, if that is certain.

    Certain means that differences of two sizes, and those to the left and to the right, agree with each other and not with the
    claim: at kinks and in rounding noise they disagree. In single precision kinks of many samples average to a curvature of
    their own; there only large gaps count.
    """
    eps = torch.finfo(point.dtype).eps
    step = eps ** (1 / 3) * float(point.abs().amax().clamp(min=1e-3))
    allowed = 1e-4 if point.dtype == torch.float64 else 0.1

    def around(size: float) -> tuple[Tensor, Tensor]:
        return function(point + size * direction), function(point - size * direction)

    right, left = around(step / 4)
    near = (right - left) / (step / 2)
    scale = torch.maximum(claimed.norm(), near.norm())
    tolerance = torch.maximum(allowed * scale, _NOISE * eps * right.norm() / step)
    if not bool((near - claimed).norm() > tolerance):
        return None
    far = around(step)
    wide, kink = (far[0] - far[1]) / (2 * step), (right - 2 * function(point) + left) / (step / 4)
    off = torch.minimum((wide - claimed).norm(), (near - claimed).norm())
    if bool(off > tolerance) and bool(torch.maximum((wide - near).norm(), kink.norm()) < 0.3 * off):
        return float(off / scale)
    return None
