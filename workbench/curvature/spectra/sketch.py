"""A few products that find a Hessian's dominant eigenspace, for estimates that leave one vector out (arXiv 2301.07825)."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.curvature.products import HVPOperator
from workbench.curvature.scales import power_of_two


class Sketch:
    """m random vectors t_i, their images y_i = H t_i, an orthonormal basis q_j of the images' span, and H q_j.

    `triangle` holds the images' coefficients in the basis, `core` is the Hessian in the basis, and `coefficients` are
    those of the test vectors. The Hessian is divided by `scale`, a power of two that keeps squares in range.
    """

    def __init__(self, operator: HVPOperator, tests: Tensor) -> None:
        self.tests = tests
        images = operator(self.tests)
        self.scale = power_of_two(images)
        self.images = images / self.scale
        basis, self.triangle = torch.linalg.qr(self.images.mT)
        self.range = basis.mT
        self.range_images = operator(self.range) / self.scale
        self.core = self.range @ self.range_images.mT
        self.coefficients = self.range @ self.tests.mT


def unreached(triangle: Tensor) -> Tensor:
    """Column i: the direction (in the basis) that the images other than the i-th do not reach.

    Without it the basis is independent of test vector i. Rank below m makes the triangle singular; a pivot at rounding
    level keeps the solve finite, and the direction it yields then lies outside the Hessian's range.
    """
    pivots = triangle.diagonal()
    largest = pivots.abs().amax()
    least = torch.where(largest > 0, torch.finfo(pivots.dtype).eps * largest, 1.0)
    safe = triangle + torch.diag(torch.where(pivots.abs() < least, least - pivots, 0.0))
    reached = torch.linalg.solve_triangular(
        safe.mT, torch.eye(*safe.shape, dtype=safe.dtype, device=safe.device), upper=False
    )
    return reached / reached.norm(dim=0)


def without(direction: Tensor, columns: Tensor) -> Tensor:
    """Each column less its part along the direction of the same index."""
    return columns - direction * (direction * columns).sum(0)
