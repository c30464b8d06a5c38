"""Upper and lower bounds of the paper (arXiv:2203.01744), with the constants as recalled."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Steps = Float[np.ndarray, " step"]


def last_bound(T: Steps, alpha: float, beta: float, start2: float = 1.0) -> Steps:
    """Noiseless last iterate: min{3/(alpha T^2), 24/(beta T)} |x_0 - theta*|^2."""
    T = np.asarray(T, dtype=np.float64)
    return np.minimum(3 / (alpha * T**2), 24 / (beta * T)) * start2


def average_bound(
    T: Steps, alpha: float, beta: float, *, start2: float = 1.0, sigma2: float = 0.0, d: int = 1
) -> Steps:
    """Averaged iterate: min{12/(alpha T^2), 288/(beta T)} |x_0 - theta*|^2 + 72 sigma^2 d/T."""
    T = np.asarray(T, dtype=np.float64)
    return np.minimum(12 / (alpha * T**2), 288 / (beta * T)) * start2 + 72 * sigma2 * d / T


def lower_bound(t: Steps, d: int, *, R2: float = 1.0, start2: float = 1.0) -> Steps:
    """R^2/(2d) (1 - 1/d)^t |x_0 - theta*|^2: one-hot features, methods that stay in the span of the features seen.

    A coordinate that no sample showed, which has probability (1 - 1/d)^t, cannot have moved.
    """
    return R2 / (2 * d) * (1 - 1 / d) ** np.asarray(t, dtype=np.float64) * start2
