"""A stochastic test function that satisfies the assumptions of SAM's convergence theorems with known constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem


@dataclass(frozen=True, eq=False)
class NoisySines(Problem[Tensor]):
    """l_i(w) = sum_j [w_j^2/2 + sin(w_j)^2] + <xi_i, w>, with noise vectors xi_i that sum to zero (arXiv:2206.06232).

    Constants, exact: gradient noise E|grad l_i - grad L|^2 = mean |xi_i|^2 everywhere; every l_i is smooth with constant
    3; the smallest curvature is -1 (not convex); the Polyak-Lojasiewicz constant is min h'^2/(2h) of h(w) = w^2/2 +
    sin(w)^2, reached at |w| = 2.16469; minimum 0 at the origin. Starts are 2 N(0, I).
    """

    noise: Float[Tensor, "sample parameter"]

    minimum = 0.0
    smoothness = 3.0
    smallest_curvature = -1.0
    pl_constant = 0.252579446439992

    @property
    def data(self) -> Batch:
        return (self.noise,)

    @property
    def noise_variance(self) -> Float[Tensor, ""]:
        """sigma^2."""
        return (self.noise**2).sum(1).mean()

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        return 2.0 * draws.normal(seed, (self.noise.shape[1],), stream="initial")

    def sample_loss(self, parameters: Float[Tensor, " parameter"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.loss(parameters) + (sample[0] * parameters).sum()

    def batch_loss(self, parameters: Float[Tensor, " parameter"], batch: Batch) -> Float[Tensor, ""]:
        return self.loss(parameters) + (batch[0].mean(0) * parameters).sum()

    def loss(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        """The mean over all samples, from which the noise is absent exactly."""
        return (0.5 * parameters**2 + torch.sin(parameters) ** 2).sum()

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        full = parameters + torch.sin(2 * parameters)
        return full if batch is None else full + batch[0].mean(0)

    def hessian(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "parameter parameter"]:
        """diag(1 + 2 cos 2w)."""
        return torch.diag(1 + 2 * torch.cos(2 * parameters))


def noisy_sines(n: int = 64, d: int = 5, *, variance: float = 1.0, seed: Seed = 0) -> NoisySines:
    """The test function with n Gaussian noise vectors in R^d, centred and scaled to mean |xi|^2 = variance. float64."""
    require_count("n", n, 2)
    require_count("d", d)
    require_positive("variance", variance)
    raw = draws.normal(seed, (n, d), stream="noise")
    centred = raw - raw.mean(0)
    return NoisySines(centred * math.sqrt(variance) / (centred**2).sum(1).mean().sqrt())
