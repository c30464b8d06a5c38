"""A quartic polynomial with a critical point of given Hessian: the smallest problem on which linear theory is only local."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem
from workbench.problems.landscapes.quadratic import quadratic


@dataclass(frozen=True, eq=False)
class CriticalPoint(Problem[Tensor]):
    """f(x) = 1/2 H[x, x] + 1/6 C[x, x, x] + 1/24 D[x, x, x, x], with a critical point at the origin.

    C and D are symmetric in all their indices; starts are 1e-3 N(0, I).
    """

    matrix: Float[Tensor, "parameter parameter"]
    cubic: Float[Tensor, "parameter parameter parameter"]
    quartic: Float[Tensor, "parameter parameter parameter parameter"]
    spectrum: Float[Tensor, " eigenvalue"]

    @property
    def point(self) -> Float[Tensor, " parameter"]:
        """The critical point, where the Hessian has the prescribed spectrum."""
        return torch.zeros_like(self.spectrum)

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        return 1e-3 * draws.normal(seed, tuple(self.spectrum.shape), stream="initial", dtype=self.spectrum.dtype)

    def loss(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        x = parameters
        return (x * ((self.matrix / 2 + self.cubic @ x / 6 + self.quartic @ x @ x / 24) @ x)).sum()

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        x = parameters
        return (self.matrix + self.cubic @ x / 2 + self.quartic @ x @ x / 6) @ x

    def hessian(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "parameter parameter"]:
        """H + C[x] + 1/2 D[x, x]."""
        return self.matrix + self.cubic @ parameters + self.quartic @ parameters @ parameters / 2


def critical_point(
    spectrum: Sequence[float] = (-3.0, -0.7, 0.0, 0.4, 1.3, 2.9), *, seed: Seed = 0, strength: float = 1.0
) -> CriticalPoint:
    """A critical point with the given Hessian eigenvalues in a random basis and random cubic and quartic terms.

    strength: standard deviation of the terms' coefficients before symmetrisation. float64.
    Raises ValueError for a spectrum that is no vector of finite numbers.
    """
    bowl = quadratic(spectrum, rotation=seed)
    size = bowl.spectrum.shape[0]
    cubic = strength * draws.normal(seed, (size,) * 3, stream="cubic")
    quartic = strength * draws.normal(seed, (size,) * 4, stream="quartic")
    return CriticalPoint(bowl.matrix, _symmetric(cubic), _symmetric(quartic), bowl.spectrum)


def _symmetric(tensor: Tensor) -> Tensor:
    orders = list(itertools.permutations(range(tensor.dim())))
    return torch.stack([tensor.permute(order) for order in orders]).mean(0)
