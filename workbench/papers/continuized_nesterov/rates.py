"""The parameters of the theorems and what the theorems promise (arXiv:2106.07644)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from workbench.checks import require_nonnegative, require_positive
from workbench.optimizers.accelerated import Continuized, ContinuizedConvex

Times = Float[np.ndarray, " time"]
Scheme = TypeVar("Scheme", Continuized, ContinuizedConvex)


def convex(L: float = 1.0) -> ContinuizedConvex:
    """gamma = 1/L, eta = 2/t, gamma' = t/(2L)."""
    require_positive("L", L)
    return ContinuizedConvex(1 / L, 2.0, 1 / (2 * L))


def strongly_convex(mu: float, L: float = 1.0) -> Continuized:
    """gamma = 1/L, eta = eta' = sqrt(mu/L), gamma' = 1/sqrt(mu L)."""
    _within(mu, L)
    rate = math.sqrt(mu / L)
    return Continuized(1 / L, rate, rate, 1 / math.sqrt(mu * L))


def multiplicative(mu: float, R2: float, kappa: float) -> Continuized:
    """Theorem 6: gamma = 1/R2, eta = eta' = sqrt(mu/(R2 kappa)), gamma' = 1/sqrt(mu R2 kappa). Its eta is the rate theta."""
    _within(mu, R2)
    require_positive("kappa", kappa)
    rate = math.sqrt(mu / (R2 * kappa))
    return Continuized(1 / R2, rate, rate, 1 / math.sqrt(mu * R2 * kappa))


def multiplicative_convex(R2: float, kappa: float, power: float = 1.0) -> ContinuizedConvex:
    """gamma = 1/R2, eta = power/t, gamma' = t/(power R2 kappa); power = 1 has the sharper bound."""
    require_positive("R2", R2)
    require_positive("kappa", kappa)
    return ContinuizedConvex(1 / R2, power, 1 / (power * R2 * kappa))


def scaled(scheme: Scheme, eta_scale: float = 1.0, gamma_z_scale: float = 1.0) -> Scheme:
    """The same with the mixing rates and the z-steps multiplied (eta_scale = 0 is gradient descent at Poisson times)."""
    require_nonnegative("eta_scale", eta_scale)
    require_nonnegative("gamma_z_scale", gamma_z_scale)
    if isinstance(scheme, Continuized):
        return replace(
            scheme,
            eta=eta_scale * scheme.eta,
            eta_z=eta_scale * scheme.eta_z,
            z_step=gamma_z_scale * scheme.z_step,
        )
    return replace(scheme, power=eta_scale * scheme.power, z_slope=gamma_z_scale * scheme.z_slope)


def strongly_convex_bound(
    t: Times, gap: float, distance2: float, mu: float, L: float = 1.0, sigma2: float = 0.0
) -> Times:
    """(f(x_0) - f* + mu/2 |z_0 - x*|^2) exp(-sqrt(mu/L) t) + sigma^2/sqrt(mu L)."""
    return (gap + mu / 2 * distance2) * np.exp(-math.sqrt(mu / L) * np.asarray(t)) + sigma2 / math.sqrt(mu * L)


def convex_bound(t: Times, distance2: float, L: float = 1.0, sigma2: float = 0.0) -> Times:
    """2 L |z_0 - x*|^2/t^2 + sigma^2 t/(3 L)."""
    t = np.asarray(t, dtype=np.float64)
    return 2 * L * distance2 / t**2 + sigma2 * t / (3 * L)


class GossipConstants(NamedTuple):
    """theta, the proven rate of accelerated gossip, and gamma' of its z-step."""

    theta: float
    gamma_prime: float


def gossip_constants(mu: float, R: float) -> GossipConstants:
    """theta = sqrt(mu/(2R)), gamma' = 1/sqrt(2 R mu), from the spectral gap mu and the largest effective resistance R.

    >>> gossip_constants(0.5, 4.0)
    GossipConstants(theta=0.25, gamma_prime=0.5)
    """
    require_positive("mu", mu)
    require_positive("R", R)
    return GossipConstants(math.sqrt(mu / (2 * R)), 1 / math.sqrt(2 * R * mu))


def _within(mu: float, L: float) -> None:
    require_positive("L", L)
    if not 0 < mu <= L:
        raise ValueError(f"mu must lie in (0, L] with L={L:g}, got {mu!r}")
