"""SAM's expectations without closed forms: by quadrature over (Z_1, radius), and by sampling for any noise (arXiv:2301.08203)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy.special import gammaln
from torch import Tensor

from workbench.checks import require_count
from workbench.papers.sde_for_sam.projected_normal import (
    expected_gaussian_norm,
    projected_normal_mean,
    projected_normal_ratio,
    projected_normal_slope,
)

QUANTITIES = ("c", "c'", "c/r", "norm")
_REACH = 9.0
"""Standard deviations up to which Z_1 and the radius of the others are integrated."""


def integrals(r: float, d: int, nodes: int = 240) -> Float[np.ndarray, " quantity"]:
    """c(r), c'(r), c(r)/r and E|g+Z|/sigma for |g| = r sigma in R^d, d >= 2, by a product rule over (Z_1, R).

    With u = (r+Z_1)/|g+Z| and R ~ chi_{d-1}, the length of the rest: c = E u, c' = E Z_1 u, c/r = E R^2/((d-1) |g+Z|) by Stein's
    lemma.
    """
    require_count("d", d, low=2)
    require_count("nodes", nodes, low=2)
    at, weights = np.polynomial.legendre.leggauss(nodes)
    first = _REACH * at
    low = max(0.0, np.sqrt(d - 1) - _REACH)
    half = (np.sqrt(d - 1) + _REACH - low) / 2
    radius = low + half * (1 + at)
    normal = np.exp(-first * first / 2) / np.sqrt(2 * np.pi)
    chi = np.exp((d - 2) * np.log(radius) - radius * radius / 2 - (d - 3) / 2 * np.log(2) - gammaln((d - 1) / 2))
    mass = np.outer(_REACH * weights * normal, half * weights * chi)
    length = np.hypot(r + first[:, None], radius)
    unit = (r + first[:, None]) / length
    parts = (unit, first[:, None] * unit, radius**2 / ((d - 1) * length), length)
    return np.array([(mass * part).sum() for part in parts])


def closed_form_errors(
    dims: Sequence[int] = (2, 3, 6, 20), r: Sequence[float] = (0.1, 0.3, 1.0, 2.0, 5.0), *, fixed_d: int | None = None
) -> xr.DataArray:
    """|closed form - quadrature| over the quadrature's own error: dims (quantity, d, r).

    The error is the larger of the changes from 60 to 120 and from 120 to 240 nodes, plus 1e-12 for rounding. fixed_d takes the
    closed forms of that dimension for every d (control).
    """
    forms = (projected_normal_mean, projected_normal_slope, projected_normal_ratio, expected_gaussian_norm)
    found = np.empty((len(QUANTITIES), len(dims), len(r)))
    for i, d in enumerate(dims):
        for j, place in enumerate(r):
            levels = [integrals(place, d, nodes) for nodes in (60, 120, 240)]
            closed = np.array([form(place, fixed_d or d) for form in forms])
            error = np.abs(np.diff(levels, axis=0)).max(0) + 1e-12
            found[:, i, j] = np.abs(closed - levels[-1]) / error
    coords = {"quantity": list(QUANTITIES), "d": list(dims), "r": list(r)}
    return xr.DataArray(found, dims=("quantity", "d", "r"), coords=coords)


def sampled_direction(
    gradient: Float[Tensor, " parameter"], noise: Float[Tensor, "sample parameter"]
) -> tuple[Float[Tensor, " parameter"], Float[Tensor, "parameter parameter"]]:
    """m = E e and K = Cov(Z, e), e = (g+Z)/|g+Z|, from samples of any noise law: the nested estimator."""
    moved = gradient + noise
    unit = torch.nn.functional.normalize(moved, dim=1, eps=1e-300)
    mean = unit.mean(0)
    return mean, (noise - noise.mean(0)).mT @ (unit - mean) / len(noise)


def sampled_noise_root(
    hessian: Float[Tensor, "parameter parameter"],
    gradient: Float[Tensor, " parameter"],
    noise: Float[Tensor, "sample parameter"],
    rho: float,
) -> Float[Tensor, "parameter parameter"]:
    """A symmetric root of S + rho (K H + H K^T), S the noise's covariance; eigenvalues below 0 are clipped."""
    _, cross = sampled_direction(gradient, noise)
    centred = noise - noise.mean(0)
    term = cross @ hessian
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(noise) + rho * (term + term.mT))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
