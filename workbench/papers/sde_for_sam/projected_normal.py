"""Length and direction of a Gaussian vector g + Z, Z ~ N(0, sigma^2 I) in R^d, in closed form.

With r = |g|/sigma, z = -r^2/2, Kummer's function M = 1F1 and A = kappa_d = Gamma((d+1)/2)/(sqrt 2 Gamma(d/2+1)):

    c(r) = A r M(1/2; d/2+1; z)     E (g+Z)/|g+Z| = c(r) g/|g|
    c'(r) = A M(3/2; d/2+1; z)      Cov(Z, (g+Z)/|g+Z|) = sigma^2 J
    J = A/sigma (M(1/2; d/2+1; z) I - M(3/2; d/2+2; z)/(d+2) g g^T/sigma^2)

by Stein's lemma. Nothing here is singular, not even at g = 0, where J = kappa_d/sigma I.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.special import gammaln, hyp1f1
from torch import Tensor

from workbench.checks import require_count

Numbers = float | Float[np.ndarray, "..."]

_PLACES = 4001
"""Places of the table at which the two functions of J are known; cubic between them."""


def kappa(d: int) -> float:
    """c'(0) = Gamma((d+1)/2)/(sqrt 2 Gamma(d/2+1)), about 1/sqrt d: .7979, .6267 for d = 1, 2."""
    require_count("d", d)
    return math.exp(gammaln((d + 1) / 2) - gammaln(d / 2 + 1)) / math.sqrt(2)


def projected_normal_mean(r: Numbers, d: int) -> Numbers:
    """c(r): how long the mean of (g+Z)/|g+Z| is, for |g| = r sigma. Exact to rounding up to r = 1e4 at d = 20."""
    r = _radii(r)
    return kappa(d) * r * hyp1f1(0.5, d / 2 + 1, -r * r / 2)


def projected_normal_slope(r: Numbers, d: int) -> Numbers:
    """c'(r): sigma times the eigenvalue of J along g."""
    r = _radii(r)
    return kappa(d) * hyp1f1(1.5, d / 2 + 1, -r * r / 2)


def projected_normal_ratio(r: Numbers, d: int) -> Numbers:
    """c(r)/r: sigma times the eigenvalue of J across g."""
    r = _radii(r)
    return kappa(d) * hyp1f1(0.5, d / 2 + 1, -r * r / 2)


def expected_gaussian_norm(r: Numbers, d: int) -> Numbers:
    """E|g+Z|/sigma for |g| = r sigma; its derivative is c(r)."""
    r = _radii(r)
    return kappa(d) * d * hyp1f1(-0.5, d / 2, -r * r / 2)


def _radii(r: Numbers) -> np.ndarray:
    values = np.asarray(r, dtype=np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"r = |g|/sigma must be finite and >= 0, got {r!r}")
    return values


def direction_factors(square: Float[Tensor, ""], d: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """A M(1/2; d/2+1; z) and A M(3/2; d/2+2; z)/(d+2) at r^2 = `square`, for one run and under `torch.func.vmap`.

    The mean direction is the first times g/sigma; sigma J v is the first times v minus the second times <g, v> g/sigma^2.
    Interpolated: relative error below 1e-11.
    """
    table = _table(d).to(square.device)
    inverse = 1 / (1 + square / d)
    place = (1 - inverse) * (_PLACES - 1)
    # A run that blew up asks at NaN: it gets NaN, from any row.
    left = torch.nan_to_num(place.detach().floor()).clamp(0, _PLACES - 2)
    row = torch.index_select(table, 0, left.to(torch.int64).reshape(1))[0]
    t = place - left
    powers = torch.stack([t * t * t, t * t, t, torch.ones_like(t)])
    root = inverse.sqrt()
    return (row[:4] * powers).sum() * root, (row[4:] * powers).sum() * root * inverse


@functools.cache
def _table(d: int) -> Float[Tensor, "place coefficient"]:
    """Cubics between the places, highest power first, of both functions over their decay, (1 + r^2/d)^-1/2 and -3/2.

    Without it they are smooth functions of r^2/(r^2+d) up to r = infinity.
    """
    require_count("d", d)
    places = np.arange(_PLACES) / (_PLACES - 1)
    rise = 1 / (1 - places[:-1])
    z, parts = -d * places[:-1] * rise / 2, []
    for a, b, factor in ((0.5, d / 2 + 1, kappa(d)), (1.5, d / 2 + 2, kappa(d) / (d + 2))):
        limit = math.exp(gammaln(b) - gammaln(b - a)) * (2 / d) ** a
        values = factor * np.append(hyp1f1(a, b, z) * rise**a, limit)
        parts.append(CubicSpline(np.arange(_PLACES), values).c)
    return torch.from_numpy(np.concatenate(parts).T.copy())
