"""AcSGD for large t: a method with constant coefficients, its stability and its noise floor in closed form.

With v = (z - x)/(t + 1) the iteration tends to v+ = v - alpha g(y), y+ = y + v+ - beta g(y).
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from workbench.checks import require_nonnegative, require_positive
from workbench.dynamics.moments import CoordinateMoments, LinearStep
from workbench.papers.accelerated_lsr.recursions import DESIGNS
from workbench.problems.linear.designs import NoiseLaw, eigenvalues

Coordinates = Float[np.ndarray, " coordinate"]


class NoiseShare(NamedTuple):
    """q_i = h_i E y_i^2/(E g_i^2/h_i) of the stationary law, and Q: mean-square stable where Q < 1."""

    q: Coordinates
    Q: float


def limit_operator(law: NoiseLaw, alpha: float, beta: float) -> CoordinateMoments:
    """The second-moment operator of (v, y) with constant coefficients; outputs "parameters" (y) and "x" = y - v."""
    require_nonnegative("alpha", alpha)
    require_positive("beta", beta)
    carry, point = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0]])
    step = LinearStep(carry, point, np.array([[-alpha], [-alpha - beta]]))
    outputs = {"parameters": np.array([0.0, 1.0]), "x": np.array([-1.0, 1.0])}
    return CoordinateMoments(step, law, np.array([0.0, 1.0]), outputs)


def noise_share(h: Coordinates, alpha: float, beta: float, design: str = "gauss") -> NoiseShare:
    """q_i = alpha/(alpha + 2 beta) + beta h_i/2, exact for all step sizes.

    Q = sum q_i/(1 - 2 q_i) for Gaussian features (inf where some q_i >= 1/2), d max q_i for one-hot ones.

    >>> noise_share([1.0], 1.0, 1.0)  # plain acceleration has q > 1/3
    NoiseShare(q=array([0.83333333]), Q=inf)
    """
    h = eigenvalues(h)
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
    q = alpha / (alpha + 2 * beta) + beta * h / 2
    if design == "onehot":
        return NoiseShare(q, float(h.size * q.max()))
    return NoiseShare(q, float((q / (1 - 2 * q)).sum()) if q.max() < 0.5 else math.inf)


def noise_floor(
    h: Coordinates,
    sigma2: float,
    alpha: float,
    beta: float,
    design: str = "gauss",
    *,
    output: str = "x",
    feedback: bool = True,
) -> float:
    """lim E R - R* of the last iterate x_t, or of the points y_t at which gradients are taken; inf where unstable.

    With E g_i^2 = h_i n_i: h_i E y_i^2 = q_i n_i, and x+ = y - beta g gives h_i E x_i^2 = (q_i (1 - 2 beta h_i) +
    beta^2 h_i^2) n_i. Gaussian n_i = sigma^2/((1 - Q)(1 - 2 q_i)), so that y's floor is sigma^2/2 Q/(1 - Q); one-hot
    n_i = sigma^2/(1 - d q_i). feedback = False takes n_i = sigma^2, the noise at theta* (control).
    """
    if output not in ("x", "y"):
        raise ValueError(f"output must be x or y, got {output!r}")
    require_nonnegative("sigma2", sigma2)
    h = eigenvalues(h)
    q, Q = noise_share(h, alpha, beta, design)
    if feedback and Q >= 1:
        return math.inf
    noise = np.full(h.size, sigma2)
    if feedback:
        noise = noise / (1 - h.size * q) if design == "onehot" else noise / ((1 - Q) * (1 - 2 * q))
    shares = q if output == "y" else q * (1 - 2 * beta * h) + (beta * h) ** 2
    return float(0.5 * (shares * noise).sum())


def small_step_ratio(h: Coordinates, beta: float) -> float:
    """The stable alpha d/beta to first order in the step sizes, from K = d alpha/beta + beta tr H < 2 (control)."""
    return 2 - beta * float(eigenvalues(h).sum())


def critical_ratio(h: Coordinates, beta: float, design: str = "gauss") -> float:
    """The largest mean-square stable alpha d/beta, from Q = 1. 0 where no alpha > 0 is stable."""
    d = eigenvalues(h).size

    def excess(alpha: float) -> float:
        return min(noise_share(h, alpha, beta, design).Q, 1e300) - 1

    if excess(0.0) >= 0:
        return 0.0
    # Q = inf beyond q = 1/2, so the root lies below alpha/(alpha + 2 beta) = 1/2.
    return d / beta * cast(float, brentq(excess, 0.0, 2 * beta, xtol=1e-16 * beta, rtol=1e-14))


def solved_ratio(h: Coordinates, beta: float, design: str = "gauss") -> float:
    """The same without the closed form: where the 3d x 3d system of stationary moments ceases to have a positive solution.

    1/E y_i^2 is smooth in alpha and changes sign there, unlike the nearly defective eigenvalues around 1.
    """
    d = eigenvalues(h).size
    law = DESIGNS[design](h, 1.0)

    def least(ratio: float) -> float:
        operator = limit_operator(law, ratio * beta / d, beta)
        noise = operator.apply(np.zeros((3, d))).T.ravel()
        try:
            moments = np.linalg.solve(np.eye(3 * d) - operator.matrix(), noise)
        except np.linalg.LinAlgError:  # the boundary itself
            return 0.0
        return float((1 / moments[2::3]).min())

    low = 1e-3
    if least(low) <= 0:
        return 0.0
    high = 1.25 * low
    while least(high) > 0:
        low, high = high, 1.25 * high
    return cast(float, brentq(least, low, high, xtol=1e-15, rtol=1e-13))
