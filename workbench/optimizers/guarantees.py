"""What full-batch SAM and USAM are guaranteed to reach, with every constant (arXiv:2305.15287, proofs re-derived).

beta is the smoothness of the loss, alpha its constant of strong convexity or of the Polyak-Lojasiewicz (PL) inequality, and
`gap` the loss above its infimum at the start. All functions take numbers, arrays or tensors, and work inside sweeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from workbench.parameters import concrete

Number = Any
"""A float, a NumPy array or a tensor."""


def sam_strongly_convex_bound(
    step: Number, gap: Number, step_size: Number, rho: Number, alpha: Number, beta: Number
) -> Number:
    """Bound on SAM's loss above its minimum after `step` steps on an alpha-strongly convex, beta-smooth loss.

    (1 - alpha eta (2 - u))^t gap + eta beta^3 rho^2 / (2 alpha (2 - u)), u = eta beta. True for eta <= 1/beta, where it is
    attained at eta = 1/beta with alpha = beta; false in general beyond (see `sam_pl_bound`).
    Raises ValueError for eta beta >= 2, where it is undefined.
    """
    u = _curvature_steps(step_size, beta)
    return (1 - alpha * step_size * (2 - u)) ** step * gap + step_size * beta**3 * rho**2 / (2 * alpha * (2 - u))


def sam_pl_bound(step: Number, gap: Number, step_size: Number, rho: Number, alpha: Number, beta: Number) -> Number:
    """Bound on SAM's loss above its minimum after `step` steps on an alpha-PL, beta-smooth loss, for all 0 < eta < 2/beta.

    (1 - alpha eta (2 - u)/2)^t gap + beta^2 rho^2 (1 + (1 - u)^2) / (alpha (2 - u)^2), u = eta beta.
    Raises ValueError for eta beta >= 2, where it is undefined.
    """
    u = _curvature_steps(step_size, beta)
    noise = beta**2 * rho**2 * (1 + (1 - u) ** 2) / (alpha * (2 - u) ** 2)
    return (1 - alpha * step_size * (2 - u) / 2) ** step * gap + noise


def sam_stationarity_bound(steps: Number, gap: Number, step_size: Number, rho: Number, beta: Number) -> Number:
    """Bound on SAM's mean squared gradient norm over `steps` steps on a beta-smooth loss, for 0 < eta < 2/beta.

    4 gap/(T eta (2 - u)) + 4 beta^2 rho^2 (1 - u + u^2/2)/(2 - u)^2, u = eta beta.
    Raises ValueError for eta beta >= 2, where it is undefined.
    """
    u = _curvature_steps(step_size, beta)
    return 4 * gap / (steps * step_size * (2 - u)) + 4 * beta**2 * rho**2 * (1 - u + u**2 / 2) / (2 - u) ** 2


def usam_path_bound(gap: Number, rho: Number, alpha: Number, beta: Number) -> Number:
    """Bound on the length of USAM's whole path on an alpha-PL, beta-smooth loss.

    2 sqrt(2) (1 + v)/((1 - v) sqrt(alpha)) sqrt(gap), v = rho beta < 1, for every eta up to `usam_path_step_size`.
    Raises ValueError for rho beta >= 1, where it is undefined.
    """
    v = _below(1.0, rho * beta, "rho * beta")
    return 2 * 2**0.5 * (1 + v) / ((1 - v) * alpha**0.5) * gap**0.5


def usam_path_step_size(rho: Number, beta: Number) -> Number:
    """The largest step size of `usam_path_bound`, (1 - v)/(beta (1 + v)^2), v = rho beta < 1."""
    v = _below(1.0, rho * beta, "rho * beta")
    return (1 - v) / (beta * (1 + v) ** 2)


def sam_cycle_radius(step_size: Number, rho: Number, beta: Number) -> Number:
    """Half the length of the 2-cycle to which SAM converges on a quadratic: eta beta rho/(2 - eta beta), along the top
    eigenvector. Its loss is beta/2 times the square. Raises ValueError for eta beta >= 2.
    """
    u = _curvature_steps(step_size, beta)
    return u * rho / (2 - u)


def _curvature_steps(step_size: Number, beta: Number) -> Number:
    return _below(2.0, step_size * beta, "step_size * beta")


def _below(limit: float, value: Number, name: str) -> Number:
    largest = concrete(value.max()) if isinstance(value, Tensor) else float(np.max(value))
    if largest is not None and not largest < limit:
        raise ValueError(f"{name} must be below {limit:g} for the bound to be defined, got {largest:g}")
    return value
