"""Losses of one or two numbers whose minima have different curvatures: which of them does an optimizer choose?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_finite, require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class ScalarFactorisation(Problem[Tensor]):
    """f(u, v) = 1/2 (u v - c)^2, parameters (u, v), c = `product`.

    The minima are the hyperbola u v = c, with Hessian eigenvalues 0 and u^2 + v^2 >= 2 |c|; for c != 0 the origin is a strict
    saddle with eigenvalues -|c| and |c|. Starts are uniform on [-spread, spread]^2. Many runs may be given side by side, as
    columns.
    """

    spread: float | Tensor = 3.0
    product: float | Tensor = 1.0
    minimum = 0.0

    def __post_init__(self) -> None:
        require_positive("spread", self.spread)
        require_finite("product", self.product)

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        return self.spread * draws.uniform(seed, (2,), low=-1.0, high=1.0, stream="initial")

    def loss(self, parameters: Float[Tensor, "parameter *run"]) -> Float[Tensor, "*run"]:
        return 0.5 * (parameters[0] * parameters[1] - self.product) ** 2

    def gradient(
        self, parameters: Float[Tensor, "parameter *run"], batch: Batch | None = None
    ) -> Float[Tensor, "parameter *run"]:
        return (parameters[0] * parameters[1] - self.product) * parameters.flip(0)

    def hessian(self, parameters: Float[Tensor, "parameter *run"]) -> Float[Tensor, "parameter parameter *run"]:
        """[[v^2, 2uv - c], [2uv - c, u^2]]."""
        u, v = parameters.unbind(0)
        mixed = 2 * u * v - self.product
        return torch.stack([torch.stack([v * v, mixed]), torch.stack([mixed, u * u])])

    def sharpness(self, parameters: Float[Tensor, "parameter *run"]) -> Float[Tensor, "*run"]:
        """Largest Hessian eigenvalue."""
        u, v = parameters.unbind(0)
        return 0.5 * (u * u + v * v + torch.hypot(u * u - v * v, 2 * (2 * u * v - self.product)))

    @property
    def saddle(self) -> Float[Tensor, " parameter"]:
        """The origin, a saddle unless c = 0."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {**super().measures, "sharpness": Measure(self.sharpness, "largest Hessian eigenvalue")}


@dataclass(frozen=True, eq=False)
class TwoBasins(Problem[Tensor]):
    """The quartic with f'(x) = k x (x - 1)(x + w) and f(0) = 0; the parameter is a 0-dim tensor x.

    Minima at 1 (curvature k(1 + w)) and at -w (curvature k w (1 + w)), a maximum at 0 (curvature -k w). For w > 1 the
    minimum at -w is both the deeper and the sharper one. Starts are uniform on [low, high].
    """

    k: float | Tensor = 0.5
    w: float | Tensor = 2.0
    low: float = -2.5
    high: float = 1.5

    def __post_init__(self) -> None:
        require_positive("k", self.k)
        require_positive("w", self.w)
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low={self.low} and high={self.high}")

    def initial(self, seed: Seed) -> Float[Tensor, ""]:
        return draws.uniform(seed, (), low=self.low, high=self.high, stream="initial")

    def loss(self, parameters: Float[Tensor, "*run"]) -> Float[Tensor, "*run"]:
        x = parameters
        return self.k * x * x * (x * x / 4 + (self.w - 1) * x / 3 - self.w / 2)

    def gradient(self, parameters: Float[Tensor, ""], batch: Batch | None = None) -> Float[Tensor, ""]:
        return self.k * parameters * (parameters - 1) * (parameters + self.w)

    def hessian(self, parameters: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """f''(x) = k (3 x^2 + 2 (w - 1) x - w)."""
        return self.k * (3 * parameters**2 + 2 * (self.w - 1) * parameters - self.w)

    @property
    def minimisers(self) -> tuple[float | Tensor, float | Tensor]:
        """1 and -w."""
        return 1.0, -self.w

    @property
    def curvatures(self) -> tuple[float | Tensor, float | Tensor]:
        """f'' at the two minimisers, in the same order."""
        return self.k * (1 + self.w), self.k * self.w * (1 + self.w)

    def preimages(self, step_size: float) -> tuple[float, float]:
        """The two starts other than -w that one step of gradient descent maps exactly to the minimum -w.

        x - alpha f'(x) + w = (x + w)(1 - alpha k x (x - 1)), so x (x - 1) = 1/(alpha k): exceptional starts that converge
        to a minimum too sharp for the step size (arXiv:2510.09034, "for almost every start").
        """
        require_positive("step_size", step_size)
        root = math.sqrt(1 + 4 / (step_size * float(self.k)))
        return (1 + root) / 2, (1 - root) / 2
