"""x^2 + a sin^2 x: a smooth loss of one number with many critical points and one minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from workbench import draws
from workbench.checks import require_nonnegative, require_positive
from workbench.draws import Seed
from workbench.parameters import concrete
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

    @property
    def pl_constant(self) -> float:
        """Largest alpha with f'(x)^2 >= 2 alpha f(x) everywhere, to rounding; 0 where a second critical point exists.

        For a = 3 it is attained at x = 2.2017. Raises ValueError inside a sweep, where a differs from run to run.

        >>> round(RippledParabola(3.0).pl_constant, 6)
        0.175531
        """
        ripple = concrete(torch.as_tensor(self.ripple))
        if ripple is None:
            raise ValueError("pl_constant searches along x: ask for it outside the sweep")

        def ratio(x):
            # numpy's sinc keeps the digits of sin near 0, where numerator and denominator vanish together.
            s = np.sinc(np.asarray(x) / np.pi)
            return (2 + 2 * ripple * s * np.cos(x)) ** 2 / (2 * (1 + ripple * s**2))

        # |f'| >= 2|x| - a and f <= x^2 + a: beyond these x the ratio is above what it is at the first ripples.
        x = np.linspace(0, ripple + 2 + np.pi, 4001)
        least = int(ratio(x).argmin())
        ends = x[max(least - 1, 0)], x[min(least + 1, 4000)]
        found = float(minimize_scalar(ratio, bounds=ends, method="bounded", options={"xatol": 1e-12}).fun)
        slopes = 2 * x + ripple * np.sin(2 * x)
        return 0.0 if (slopes[1:] < 0).any() else min(found, float(ratio(x).min()))
