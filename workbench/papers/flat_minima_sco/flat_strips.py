"""Two generic convex problems with a flat bottom: strips in the plane, and half a parabola on the line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_nonnegative
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem


@draws.seeded
def _angles(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.0, np.pi, n)


@dataclass(frozen=True, eq=False)
class FlatStrips(Problem[Tensor]):
    """f(w, a) = 1/2 [|a.w| - rho]_+^2 with unit normals a in the plane: convex, 1-smooth, flat on the ball of radius rho
    around the origin (a generic member of the class of arXiv:2511.03548, Theorem 2)."""

    normals: Float[Tensor, "sample 2"]
    rho: float | Tensor = 0.0

    def __post_init__(self) -> None:
        require_nonnegative("rho", self.rho)

    @property
    def data(self) -> Batch:
        return (self.normals,)

    def initial(self, seed: Seed) -> Float[Tensor, "2"]:
        """A uniform point of the unit circle."""
        angle = draws.uniform(seed, (), high=2 * math.pi, stream="initial")
        return torch.stack([angle.cos(), angle.sin()])

    def batch_loss(self, parameters: Float[Tensor, "2"], batch: Batch) -> Float[Tensor, ""]:
        return 0.5 * ((batch[0] @ parameters).abs() - self.rho).clamp(min=0).square().mean()

    def gradient(self, parameters: Float[Tensor, "2"], batch: Batch | None = None) -> Float[Tensor, "2"]:
        normals = self.normals if batch is None else batch[0]
        along = normals @ parameters
        return (along.sign() * (along.abs() - self.rho).clamp(min=0)) @ normals / normals.shape[0]


def flat_strips(seed: Seed, rho: float | Tensor = 0.0, n: int = 5) -> FlatStrips:
    """n strips whose normals have uniform directions."""
    angles = _angles(seed, n)
    return FlatStrips(torch.stack([angles.cos(), angles.sin()], -1), rho)


def circle_point(angle: float | Tensor) -> Float[Tensor, "2"]:
    """(cos, sin)."""
    angle = torch.as_tensor(angle, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()])


@dataclass(frozen=True, eq=False)
class HalfParabola(Problem[Tensor]):
    """f(w) = 1/2 max(0, w)^2, flat for w <= 0; the parameter is a 0-dim tensor (arXiv:2511.03548, Theorem 6)."""

    def initial(self, seed: Seed = 0) -> Float[Tensor, ""]:
        """The sharp end of the flat half-line, 0."""
        return torch.zeros((), dtype=torch.float64)

    def loss(self, parameters: Float[Tensor, ""]) -> Float[Tensor, ""]:
        return 0.5 * parameters.clamp(min=0).square()

    def gradient(self, parameters: Float[Tensor, ""], batch: Batch | None = None) -> Float[Tensor, ""]:
        return parameters.clamp(min=0)

    def sharpness_aware_risk(self, parameters: Tensor, radius: float | Tensor) -> Tensor:
        """max_{|v| <= radius} f(w + v) = 1/2 max(0, w + radius)^2, entry by entry."""
        return 0.5 * (parameters + radius).clamp(min=0).square()

    def sa_gd_risk(
        self, start: float | Tensor, radius: float | Tensor, step_size: float | Tensor, step: Tensor
    ) -> Tensor:
        """Sharpness-aware risk of SA-GD after `step` steps from `start` > -radius: 1/2 (1 - eta)^(2 step) (w_1 + r)^2."""
        shrink = torch.as_tensor(1.0 - step_size, dtype=torch.float64) ** step
        return 0.5 * (shrink * (start + radius)).square()
