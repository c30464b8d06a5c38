"""The stochastic gradient flow of a diagonal network, and the noise that SGD has not (arXiv:2106.09524)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.parameters import Parameters, Scalar
from workbench.problems.factorised.diagonal_network import SquaresNetwork


@dataclass(frozen=True, eq=False)
class StochasticGradientFlow:
    """dw+- = -+ w+- (X^T r/n) dt +- w+- X^T (s dB), the same B in R^n for w+ and w- (Ito): the SDE of SGD with step gamma.

    s_i = 2 sqrt(gamma (L + delta^2)/n), the same for all samples; with `per_sample` s_i = sqrt(gamma (r_i^2 + 4 delta^2)/n),
    whose covariance is that of the sampled gradients (derived). delta: half the size of the label noise, 0 from step
    `noise_until` on. gamma = 0 is the gradient flow. For `optimizers.LogEulerMaruyama`, under which w+ w- obeys the theorem's
    formula exactly, or `EulerMaruyama`; dt <= gamma is enough.
    """

    network: SquaresNetwork = field(repr=False)
    gamma: Scalar
    delta: Scalar = 0.0
    noise_until: int | Tensor | None = None
    per_sample: bool = False

    def __post_init__(self) -> None:
        refuse_outside("gamma", self.gamma, lower=0.0)
        refuse_outside("delta", self.delta, lower=0.0)

    def noise(self, x: Parameters) -> Float[Tensor, " sample"]:
        return self.network.targets

    def drift(self, oracle: Oracle, x: Parameters) -> Tensor:
        assert isinstance(x, Tensor)
        return -self.network.gradient(x)

    def diffusion(self, oracle: Oracle, x: Parameters, dw: Parameters) -> Tensor:
        assert isinstance(x, Tensor) and isinstance(dw, Tensor)
        along = (torch.sqrt(self.sample_variances(oracle, x)) * dw) @ self.network.inputs
        return torch.stack([along, -along]) * x

    def variance(self, oracle: Oracle, x: Parameters) -> Tensor:
        """The diagonal of the diffusion matrix times its transpose, [2, feature]."""
        assert isinstance(x, Tensor)
        variances, squares = self.sample_variances(oracle, x), self.network.inputs**2
        # Where all samples have one variance, the sum over them does not change from step to step.
        each = variances @ squares if self.per_sample else variances[0] * squares.sum(0)
        return each * x * x

    def sample_variances(self, oracle: Oracle, x: Float[Tensor, "2 feature"]) -> Float[Tensor, " sample"]:
        """s_i^2 at the network x, [sample]."""
        squares = self.network.residuals(x) ** 2
        if not self.per_sample:
            squares = torch.zeros_like(squares) + squares.mean()
        noise: Any = 4 * self.delta**2
        if self.noise_until is not None:
            noise = noise * (oracle.step < self.noise_until).to(squares.dtype)
        return self.gamma * (squares + noise) / squares.shape[0]


@dataclass(frozen=True, eq=False)
class IsotropicNoise(EffectiveGradient):
    """The full gradient plus s Z, Z standard normal and s^2 the mean variance of a parameter's sampled gradient:

        s^2 = sum_j (w+_j^2 + w-_j^2) Var_i(r_i x_ij)/(2d).

    SGD's noise with its size and without its structure (derived setting); for `Descent` with all samples.
    """

    network: SquaresNetwork = field(repr=False)
    name = "isotropic_noise"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        assert isinstance(parameters, Tensor)
        noise = oracle.normal("isotropic", parameters)
        assert isinstance(noise, Tensor)
        return self.network.gradient(parameters) + self.size(parameters) * noise

    def size(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, ""]:
        """s."""
        inputs = self.network.inputs
        residuals = self.network.residuals(parameters)
        mean_square = (residuals**2 / inputs.shape[0]) @ inputs**2
        variances = mean_square - self.network.residual_correlation(parameters) ** 2
        return torch.sqrt((self.network.squared_scale(parameters) * variances.clamp(min=0)).sum() / parameters.numel())
