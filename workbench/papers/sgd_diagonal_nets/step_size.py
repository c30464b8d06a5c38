"""Step sizes of SGD on diagonal networks: where one sample at a time converges, and where the theorem speaks."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import refuse_outside, require_positive


def kaczmarz_step(inputs: Float[Tensor, "sample feature"], beta: Float[Tensor, " feature"]) -> Float[Tensor, ""]:
    """gamma* = 1/max_i sum_j x_ij^2 |beta_j|: below it SGD contracts near a small-alpha network of predictor beta (derived).

    There one sample i maps r to r - gamma A_{:,i} r_i, A = X diag(2(w+^2 + w-^2)) X^T, and changes |r|^2 in the norm of A^-1
    by (-2 gamma + gamma^2 A_ii) r_i^2; w+^2 + w-^2 -> |beta|. Sufficient, not necessary. inf at beta = 0.
    """
    return 1 / (inputs**2 @ beta.abs()).max()


def stability_of_start(
    inputs: Float[Tensor, "sample feature"], alpha: float | Tensor, gamma: float | Tensor
) -> Float[Tensor, ""]:
    """gamma max_i A_ii at w+ = w- = alpha, 4 gamma max_i sum_j alpha_j^2 x_ij^2: SGD's start is unstable from 2 on."""
    require_positive("alpha", alpha)
    require_positive("gamma", gamma)
    return 4 * gamma * (inputs**2 * (torch.zeros_like(inputs[0]) + alpha) ** 2).sum(1).max()


def theorem_step(
    inputs: Float[Tensor, "sample feature"],
    beta_l1: Float[Tensor, " feature"],
    alpha: float | Tensor,
    p: float = 0.5,
) -> Float[Tensor, ""]:
    """The largest gamma of Theorem 1 for probability 1 - p (its constant 400 recalled, not re-read):

    1/(400 ln(4/p) lambda_max(X^T X/n) max{|beta_l1|_1 ln(sqrt2 |beta_l1|_1/min_j alpha_j^2), |alpha|_2^2}).
    """
    refuse_outside("p", p, lower=0.0, upper=0.5, open_lower=True)
    require_positive("alpha", alpha)
    scale = torch.zeros_like(inputs[0]) + alpha
    size = beta_l1.abs().sum()
    bias = torch.maximum(size * torch.log(math.sqrt(2) * size / scale.min() ** 2), (scale**2).sum())
    top = torch.linalg.matrix_norm(inputs, ord=2) ** 2 / inputs.shape[0]
    return 1 / (400 * math.log(4 / p) * top * bias)
