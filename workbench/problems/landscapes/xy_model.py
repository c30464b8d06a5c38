"""l(x y): the smallest loss with a continuum of minima of different flatness, and how SAM drifts along it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem

Kind = Literal["sqrt", "logcosh"]


@dataclass(frozen=True, eq=False)
class ProductLoss(Problem[Tensor]):
    """L(x, y) = l(x y), parameters (x, y), with l even, convex, 1-Lipschitz and l''(0) = 1 (arXiv:2305.15287).

    kind "sqrt": l(z) = sqrt(1 + z^2) - 1; "logcosh": l(z) = log cosh z. The minima are the two axes; at (0, y) the
    Hessian is diag(y^2, 0), so the flattest minimum is the origin. Starts are (offset, sqrt(imbalance + offset^2)),
    where the imbalance D = y^2 - x^2 is what gradient flow conserves.
    """

    kind: Kind = "sqrt"
    imbalance_at_start: float | Tensor = 4.0
    offset: float | Tensor = 0.3
    minimum = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(map(repr, get_args(Kind)))}, got {self.kind!r}")
        require_positive("imbalance_at_start", self.imbalance_at_start)
        if not isinstance(self.offset, Tensor) and not math.isfinite(self.offset):
            raise ValueError(f"offset must be a finite number, got {self.offset!r}")

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        """(offset, sqrt(imbalance + offset^2)), whatever the seed."""
        x = torch.as_tensor(self.offset, dtype=torch.float64)
        return torch.stack([x, (self.imbalance_at_start + x * x).sqrt()])

    def outer(self, z: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """l(z), accurate to rounding for small and large z."""
        if self.kind == "sqrt":
            return z * z / (1 + (1 + z * z).sqrt())
        small = torch.where(z.abs() < 1, z, torch.zeros_like(z))
        large = z.abs() + torch.log1p(torch.exp(-2 * z.abs())) - math.log(2)
        return torch.where(z.abs() < 1, torch.log1p(2 * torch.sinh(small / 2) ** 2), large)

    def slope(self, z: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """l'(z)."""
        return z / (1 + z * z).sqrt() if self.kind == "sqrt" else torch.tanh(z)

    def loss(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        return self.outer(parameters[0] * parameters[1])

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        return self.slope(parameters[0] * parameters[1]) * parameters.flip(0)

    def hessian(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "parameter parameter"]:
        """[[l'' y^2, l'' xy + l'], [l'' xy + l', l'' x^2]] with l' and l'' at xy."""
        x, y = parameters.unbind(0)
        slope = self.slope(x * y)
        bend = (1 + (x * y) ** 2) ** -1.5 if self.kind == "sqrt" else 1 - slope * slope
        mixed = bend * x * y + slope
        return torch.stack([torch.stack([bend * y * y, mixed]), torch.stack([mixed, bend * x * x])])

    def imbalance(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        """D = y^2 - x^2."""
        return (parameters[1] - parameters[0]) * (parameters[1] + parameters[0])

    def imbalance_factor(
        self,
        parameters: Float[Tensor, " parameter"],
        step_size: float | Tensor,
        rho: float | Tensor = 0.0,
        lam: float | Tensor = 0.0,
    ) -> Float[Tensor, ""]:
        """D+/D of one step, exactly: (1 - step_size c l'(xy) h)^2 - step_size^2 h^2, h = l'(x'y') at the displaced point.

        c = rho (1 - lam + lam/|g|) is the length of the ascent over |g|: rho = 0 is gradient descent, lam = 0 USAM, lam = 1
        SAM, where c l'(xy) = rho sign(xy)/sqrt(x^2 + y^2).
        """
        x, y = parameters.unbind(0)
        slope, radius = self.slope(x * y), torch.hypot(x, y)
        toward = torch.where(radius > 0, torch.sign(x * y) / torch.where(radius > 0, radius, 1.0), 0.0)
        ascent = rho * ((1 - lam) * slope + lam * toward)
        height = self.slope((x + ascent * y) * (y + ascent * x))
        return (1 - step_size * ascent * height) ** 2 - (step_size * height) ** 2

    @property
    def measures(self) -> Mapping[str, Measure]:
        own = {
            "imbalance": Measure(self.imbalance, "imbalance $y^2 - x^2$"),
            "x": Measure(lambda parameters: parameters[0], "$x$"),
            "y": Measure(lambda parameters: parameters[1], "$y$"),
        }
        return {**super().measures, **own}


def drift_rate(step_size: float | Tensor, rho: float | Tensor) -> float | Tensor:
    """Rate per step at which SAM's log D falls along the axis of minima, 2 step_size rho^2 (for x, rho << y << 1/rho)."""
    return 2 * step_size * rho * rho


def trapped_level(step_size: float | Tensor, rho: float | Tensor) -> float | Tensor:
    """y_*^2 above which USAM cannot stay: the root of step_size y^2 (1 + rho y^2) = 2; at rho = 0 gradient descent's
    2/step_size, the edge of stability.
    """
    return 4 / (step_size * (1 + (1 + 8 * rho / step_size) ** 0.5))
