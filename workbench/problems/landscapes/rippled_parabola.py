"""x^2 + a sin^2 x: a smooth loss of one number with many critical points and one minimum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_nonnegative, require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem


@dataclass(frozen=True, eq=False)
class RippledParabola(Problem[Tensor]):
    """f(x) = x^2 + a sin^2 x, the parameter is a 0-dim tensor x; a = `ripple`. Starts are uniform on [-spread, spread].

    f'' = 2 + 2 a cos 2x, so f is not convex for a > 1; f >= 0 = f(0).
    """

    ripple: float | Tensor = 3.0
    spread: float | Tensor = 10.0
    minimum = 0.0

    def __post_init__(self) -> None:
        require_nonnegative("ripple", self.ripple)
        require_positive("spread", self.spread)

    def initial(self, seed: Seed) -> Float[Tensor, ""]:
        return self.spread * draws.uniform(seed, (), low=-1.0, high=1.0, stream="initial")

    def loss(self, parameters: Float[Tensor, ""]) -> Float[Tensor, ""]:
        return parameters**2 + self.ripple * torch.sin(parameters) ** 2

    def gradient(self, parameters: Float[Tensor, ""], batch: Batch | None = None) -> Float[Tensor, ""]:
        return 2 * parameters + self.ripple * torch.sin(2 * parameters)

    @property
    def smoothness(self) -> float | Tensor:
        """Lipschitz constant of the gradient, 2 + 2a."""
        return 2 + 2 * self.ripple
