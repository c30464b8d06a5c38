"""A sharp global minimum beside a flat one: at which radius robust risk minimisation changes from one to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import optimize
from torch import Tensor

from workbench.checks import require_positive
from workbench.draws import Seed
from workbench.problems.base import Problem

SHARP, FLAT = -1.2, 1.0
"""Where the two wells are."""


@dataclass(frozen=True, eq=False)
class SharpAndFlat(Problem[Tensor]):
    """L(x) = 1 - exp(-((x + 1.2)/sharp)^2) - depth exp(-((x - 1)/flat)^2): the sharp well is the deeper one, depth < 1.

    Within distance gamma of a well of width w and depth h the loss reaches 1 - h exp(-(gamma/w)^2), so that robust
    minimisation leaves the sharp well at `switch_radius` (exact up to the tail of one well at the other).
    """

    sharp: float | Tensor = 0.12
    flat: float | Tensor = 0.7
    depth: float | Tensor = 0.97

    def __post_init__(self) -> None:
        for name in ("sharp", "flat", "depth"):
            require_positive(name, getattr(self, name))
        if all(isinstance(value, (int, float)) for value in (self.sharp, self.flat, self.depth)):
            if not self.sharp < self.flat:
                raise ValueError(f"sharp must be smaller than flat, got sharp={self.sharp} and flat={self.flat}")
            if not self.depth < 1:
                raise ValueError(f"depth must be below 1, the depth of the sharp well, got {self.depth}")

    def initial(self, seed: Seed) -> Float[Tensor, ""]:
        return torch.zeros((), dtype=torch.float64)

    def loss(self, parameters: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        sharp = torch.exp(-(((parameters - SHARP) / self.sharp) ** 2))
        return 1 - sharp - self.depth * torch.exp(-(((parameters - FLAT) / self.flat) ** 2))

    @property
    def switch_radius(self) -> float:
        """gamma_c = sqrt(-ln h / (1/sharp^2 - 1/flat^2))."""
        return math.sqrt(-math.log(self.depth) / (1 / self.sharp**2 - 1 / self.flat**2))

    @property
    def latest_switch(self) -> float:
        """Root of the balance where the flat well's tail deepens the sharp one; the switch lies between `switch_radius` and it.

        exp(-(g/sharp)^2) + depth exp(-((2.2 - g)/flat)^2) = depth exp(-(g/flat)^2), at the end of the ball nearer to the
        flat well, where the tail is largest.
        """
        sharp, flat, depth = float(self.sharp), float(self.flat), float(self.depth)

        def gap(gamma: float) -> float:
            tail = depth * math.exp(-(((FLAT - SHARP - gamma) / flat) ** 2))
            return math.exp(-((gamma / sharp) ** 2)) + tail - depth * math.exp(-((gamma / flat) ** 2))

        # pyrefly: ignore[bad-argument-type]
        return float(optimize.brentq(gap, self.switch_radius, min(flat, 4 * self.switch_radius), xtol=1e-14))

    def robust_loss(
        self, x: Float[Tensor, " point"], gamma: float | Tensor, points: int = 201
    ) -> Float[Tensor, " point"]:
        """The largest loss within distance gamma of each x, on a grid of displacements that holds both ends."""
        reach = torch.linspace(-1, 1, points, dtype=x.dtype, device=x.device)
        return self.loss(x[:, None] + gamma * reach).amax(-1)

    def measured_switch(self, tolerance: float = 1e-5) -> float:
        """The radius at which the smaller of the two robust minima changes, by bisection and without the formula."""

        def gap(gamma: float) -> float:
            lowest = []
            for centre, width in ((SHARP, self.sharp), (FLAT, self.flat)):
                middle, half = centre, 0.25 * float(width)
                for _ in range(4):
                    x = torch.linspace(middle - half, middle + half, 161, dtype=torch.float64)
                    values = self.robust_loss(x, gamma, 41)
                    middle, half = float(x[values.argmin()]), half / 20
                lowest.append(float(values.min()))
            return lowest[0] - lowest[1]

        low, high = 0.0, float(self.flat)
        if gap(low) >= 0 or gap(high) <= 0:
            raise ValueError("the sharp well is not the lower one at radius 0, or stays it: there is no switch to find")
        while high - low > tolerance * high:
            middle = (low + high) / 2
            low, high = (middle, high) if gap(middle) < 0 else (low, middle)
        return (low + high) / 2
