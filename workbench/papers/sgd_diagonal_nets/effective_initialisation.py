"""The initialisation that the stochastic flow forgets by, from the integrated loss (arXiv:2106.09524, Theorem 1).

Along the stochastic gradient flow w+ w- = alpha_t^2 with alpha_t = alpha exp(-2 gamma D int_0^t L ds), D = diag(X^T X)/n, and
its limit is the minimiser of phi_{alpha_infinity} among the interpolators. Label noise of variance 4 delta^2 adds delta^2 to L.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.checks import require_nonnegative, require_positive
from workbench.problems.factorised.diagonal_potential import argmin_phi, phi, phi_gradient


def column_mean_squares(inputs: Float[Tensor, "sample feature"]) -> Float[Tensor, " feature"]:
    """D_j = (1/n) sum_i x_ij^2."""
    return (inputs**2).mean(0)


def log_decay(
    inputs: Float[Tensor, "sample feature"],
    gamma: float | Tensor,
    loss_integral: float | Tensor,
    noise_integral: float | Tensor = 0.0,
) -> Float[Tensor, " feature"]:
    """K = log(alpha/alpha_infinity) = 2 gamma D (int L dt + int delta^2 dt), L = (1/4n) sum r^2, time = gamma iterations."""
    require_nonnegative("gamma", gamma)
    require_nonnegative("loss_integral", loss_integral)
    require_nonnegative("noise_integral", noise_integral)
    return 2 * gamma * column_mean_squares(inputs) * (loss_integral + noise_integral)


def effective_initialisation(
    inputs: Float[Tensor, "sample feature"],
    alpha: float | Tensor,
    gamma: float | Tensor,
    loss_integral: float | Tensor,
    noise_integral: float | Tensor = 0.0,
) -> Float[Tensor, " feature"]:
    """alpha_infinity = alpha exp(-K), one entry per feature; `log_decay`'s K."""
    require_positive("alpha", alpha)
    return alpha * torch.exp(-log_decay(inputs, gamma, loss_integral, noise_integral))


def predicted_limit(
    inputs: Float[Tensor, "sample feature"],
    targets: Float[Tensor, " sample"],
    alpha: float | Tensor,
    gamma: float | Tensor,
    loss_integral: float | Tensor,
    noise_integral: float | Tensor = 0.0,
) -> Float[Tensor, " feature"]:
    """The limit of the stochastic flow: argmin of phi_{alpha_infinity} over X beta = y."""
    return argmin_phi(inputs, targets, effective_initialisation(inputs, alpha, gamma, loss_integral, noise_integral))


def bregman(
    beta: Float[Tensor, " feature"], beta_t: Float[Tensor, " feature"], alpha: float | Tensor
) -> Float[Tensor, ""]:
    """B(beta, beta_t) = phi(beta) - phi(beta_t) - <grad phi(beta_t), beta - beta_t>, phi = phi_alpha."""
    return phi(beta, alpha) - phi(beta_t, alpha) - (phi_gradient(beta_t, alpha) * (beta - beta_t)).sum()


def flow_loss_integral(
    beta: Float[Tensor, " feature"], alpha: float | Tensor, beta_t: Float[Tensor, " feature"] | None = None
) -> Float[Tensor, ""]:
    """int_0^T L dt of the gradient flow from beta_0 = 0, exactly: (phi_alpha(beta) - B(beta, beta_T))/2 (derived).

    beta: the flow's limit (any interpolator serves); beta_t: the flow at time T, None for T = infinity. Mirror flow:
    d/dt B(beta, beta_t) = -2 L.
    """
    whole = phi(beta, alpha)
    return 0.5 * (whole if beta_t is None else whole - bregman(beta, beta_t, alpha))


def power(
    inputs: Float[Tensor, "sample feature"], beta: Float[Tensor, " feature"], gamma: float | Tensor
) -> Float[Tensor, " feature"]:
    """zeta = gamma |beta|_1 D/2: for small alpha, alpha_infinity ~ alpha^(1 + zeta) (derived, first order in gamma)."""
    require_nonnegative("gamma", gamma)
    return 0.5 * gamma * beta.abs().sum() * column_mean_squares(inputs)


def descent_log_decay(
    inputs: Float[Tensor, "sample feature"],
    residuals: Float[Tensor, " step"],
    samples: Int[Tensor, " step"],
    gamma: float | Tensor,
) -> Float[Tensor, " feature"]:
    """K of SGD after its steps, exactly: -(1/2) sum_t log |1 - gamma^2 (r_t x_{i_t})^2| (derived).

    residuals: of the sample i_t that step t visits, before the step and with its label noise.
    """
    correlation = residuals[:, None] * inputs[samples]
    return -0.5 * torch.log((1 - (gamma * correlation) ** 2).abs()).sum(0)
