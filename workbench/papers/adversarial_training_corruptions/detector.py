"""Where sigma-overfitting begins, exactly: one ReLU, global average pooling, a fitted threshold.

An image has N equal pixels s mu, its class s = +1 or -1, plus noise of deviation sigma; the feature is h = mean_i max(0, x_i)
and a threshold kappa, midway between the class means at the noise of training, decides. For N to infinity h is its mean
m_s(sigma).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.optimize import root_scalar
from scipy.stats import norm

from workbench import draws
from workbench.checks import require_count, require_nonnegative, require_positive

Activation = Literal["relu", "identity"]
Numbers = Float[np.ndarray, "..."]


def class_mean(s: int, mu: float, sigma: float | Numbers) -> Numbers:
    """m_s(sigma) = s mu Phi(s mu/sigma) + sigma phi(mu/sigma), and max(0, s mu) at sigma = 0."""
    if s not in (-1, 1):
        raise ValueError(f"s must be 1 or -1, got {s}")
    require_positive("mu", mu)
    sigma = np.asarray(sigma, dtype=float)
    if not (sigma >= 0).all():
        raise ValueError(f"sigma must be >= 0, got {sigma.min()}")
    with np.errstate(divide="ignore"):
        t = np.where(sigma > 0, mu / np.where(sigma > 0, sigma, 1.0), np.inf)
    return s * mu * norm.cdf(s * t) + sigma * norm.pdf(t)


def threshold(mu: float, sigma: float | Numbers, clean_share: float = 0.0) -> Numbers:
    """kappa: midway between the class means of training images, of which this share has no noise."""
    if not 0 <= clean_share <= 1:
        raise ValueError(f"clean_share must be in [0, 1], got {clean_share}")
    noisy = (class_mean(1, mu, sigma) + class_mean(-1, mu, sigma)) / 2
    return (1 - clean_share) * noisy + clean_share * mu / 2


def critical_ratio() -> float:
    """sigma/mu beyond which clean images of the class +1 fall below the threshold: 1/t*, t* the root of
    1.5 t - t Phi(t) - phi(t) = 0.
    """
    return 1 / _root(lambda t: float(1.5 * t - t * norm.cdf(t) - norm.pdf(t)), 0.1, 1.0)


def mixed_ratio() -> float:
    """sigma/mu up to which some threshold suits clean and noisy images at once: m_-(sigma) = mu."""
    return _root(lambda sigma: float(class_mean(-1, 1.0, sigma)) - 1.0, 1.0, 10.0)


def working_window(mu: float, sigma: float, clean_share: float = 0.0) -> tuple[float, float]:
    """The test noise for which both classes are recognised: m_-(sigma') < kappa < m_+(sigma').

    It begins at 0 where the threshold is below mu. Above sigma the negatives cross the threshold.
    """
    require_positive("mu", mu)
    require_nonnegative("sigma", sigma)
    kappa = float(threshold(mu, sigma, clean_share))
    far = 10 * (mu + sigma) + 10 * kappa
    upper = _root(lambda noise: float(class_mean(-1, mu, noise)) - kappa, 0.0, far)
    if kappa < mu:
        return 0.0, upper
    return _root(lambda noise: float(class_mean(1, mu, noise)) - kappa, 0.0, far), upper


def accuracy(mu: float, kappa: float, sigma: float | Numbers) -> Numbers:
    """Share of images recognised at a test noise, for N to infinity: 1, 1/2 or, never, 0."""
    right = (class_mean(1, mu, sigma) > kappa).astype(float) + (class_mean(-1, mu, sigma) < kappa)
    return right / 2


def fitted_thresholds(
    seed: int, sigmas: Sequence[float], *, N: int = 1024, n: int = 50, activation: Activation = "relu"
) -> Float[np.ndarray, " sigma"]:
    """Midway between the class means of n images of N pixels per class (mu = 1), the same draws for every sigma."""
    require_count("N", N)
    require_count("n", n)
    z = draws.normal(seed, (2, n * N), stream="detector").numpy()
    if activation == "identity":
        return np.array([0.5 * sigma * float(z.mean(1).sum()) for sigma in sigmas])
    if activation != "relu":
        raise ValueError(f"activation must be 'relu' or 'identity', got {activation!r}")
    return np.array(
        [
            0.5 * float(np.maximum(1 + sigma * z[0], 0).mean() + np.maximum(sigma * z[1] - 1, 0).mean())
            for sigma in sigmas
        ]
    )


def critical_ratios(
    seeds: Sequence[int], *, N: int = 1024, n: int = 50, activation: Activation = "relu"
) -> xr.DataArray:
    """The sigma/mu at which the fitted threshold passes the clean positives, per seed; NaN where it never does up to 100."""

    def missing(seed: int, sigma: float) -> float:
        return float(fitted_thresholds(seed, [sigma], N=N, n=n, activation=activation)[0]) - 1.0

    def found(seed: int) -> float:
        if missing(seed, 100.0) <= 0:
            return math.nan
        return _root(lambda sigma: missing(seed, sigma), 0.0, 100.0)

    values = [found(seed) for seed in seeds]
    return xr.DataArray(values, {"seed": list(seeds)}, "seed", attrs={"long_name": "critical sigma/mu"})


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one sign at either end passes zero, to rounding."""
    return float(root_scalar(function, bracket=(low, high), method="brentq", xtol=1e-16, rtol=8.9e-16).root)
