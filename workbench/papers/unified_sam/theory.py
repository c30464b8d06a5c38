"""Step sizes, neighbourhoods and bounds of unified SAM under the expected residual condition (arXiv:2503.02225).

mu is the PL constant of f, L the largest smoothness constant of the samples' losses (L_max); A, B, C are those of the condition
E|grad f_S|^2 <= 2A (f - f*) + B |grad f|^2 + C, and lam the weight of SAM's normalised displacement: 0 is USAM, 1 is SAM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import refuse_outside, require_nonnegative, require_positive

Number = Any
"""A float or a NumPy array."""


class SafeSteps(NamedTuple):
    """Theorem 3.2 at rho = c rho*: the radius' end, the radius, the largest step size, and the neighbourhood N at both."""

    rho_star: float
    rho: float
    gamma_star: float
    N: float


class DescentTerms(NamedTuple):
    """E f(x+) - f_inf <= (1 + gamma M)(f(x) - f_inf) - gamma/2 |grad f(x)|^2 + gamma n0, where `condition` <= 1/2."""

    condition: float
    M: float
    n0: float


def theorem_3_2(mu: float, L: float, A: float, B: float, C: float, lam: float, c: float = 0.5) -> SafeSteps:
    """The steps that Theorem 3.2 allows at rho = c rho*, 0 <= c < 1, for mu-PL f.

    With q = B mu + A and w = (1 - lam)^2, rho* = mu/(L (mu + 2qw)) and
    gamma* = (mu - L rho (mu + 2qw))/(2 L q (1 + 2 L^2 rho^2 w)).
    Raises ValueError for constants outside their ranges.

    >>> steps = theorem_3_2(0.1, 10.0, 0.0, 1.0, 0.0, lam=0.0)
    >>> round(steps.rho, 7), round(steps.gamma_star, 7)
    (0.0166667, 0.0236842)
    """
    _require(mu, L, A, B, C, lam)
    if not 0 <= c < 1:
        raise ValueError(f"c = rho/rho* must lie in [0, 1): gamma* = 0 at rho = rho*; got {c!r}")
    q, w = B * mu + A, (1 - lam) ** 2
    rho_star = mu / (L * (mu + 2 * q * w))
    rho = c * rho_star
    gamma = (mu - L * rho * (mu + 2 * q * w)) / (2 * L * q * (1 + 2 * L**2 * rho**2 * w))
    return SafeSteps(rho_star, rho, gamma, neighbourhood(mu, L, C, lam, rho, gamma))


def neighbourhood(mu: float, L: float, C: float, lam: float, rho: float, gamma: float) -> float:
    """N of E f(x^t) - f* <= (1 - gamma mu)^t (f(x^0) - f*) + N (Theorem 3.2)."""
    w = (1 - lam) ** 2
    noise = C * (rho * w + gamma * (1 + 2 * L**2 * rho**2 * w))
    return L / mu * (noise + lam**2 * rho * (1 + 2 * gamma * L**2 * rho))


def simplified_steps(mu: float, L: float, A: float, B: float, lam: float) -> tuple[float, float]:
    """rho = min(1, mu/(2q (1-lam)^2))/(4L) and gamma = min(2, mu/(8q))/L, which satisfy Theorem 3.2 for all constants."""
    _require(mu, L, A, B, 0.0, lam)
    q, w = B * mu + A, (1 - lam) ** 2
    return (min(1.0, mu / (2 * q * w)) if w > 0 else 1.0) / (4 * L), min(2.0, mu / (8 * q)) / L


@dataclass(frozen=True)
class DecreasingRadius:
    """rho_t = min(rho_0, 1/(2t + 1)), t from 0 (Theorem 3.5)."""

    rho0: float

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return (1 / (2 * step + 1)).clamp(max=self.rho0)


@dataclass(frozen=True)
class DecreasingStep:
    """gamma_t = min(gamma_0, (2t + 1)/((t + 1)^2 mu)), t from 0 (Theorem 3.5): 1 - gamma_t mu = t^2/(t + 1)^2 telescopes."""

    gamma0: float
    mu: float

    def __call__(self, step: Float[Tensor, ""]) -> Tensor:
        return ((2 * step + 1) / ((step + 1) ** 2 * self.mu)).clamp(max=self.gamma0)


def decreasing_schedule(rho0: float, gamma0: float, mu: float) -> tuple[DecreasingRadius, DecreasingStep]:
    """rho_t and gamma_t of Theorem 3.5, under which E f(x^t) - f* = O(1/t) where (rho0, gamma0) satisfy Theorem 3.2."""
    require_nonnegative("rho0", rho0)
    require_positive("gamma0", gamma0)
    require_positive("mu", mu)
    return DecreasingRadius(rho0), DecreasingStep(gamma0, mu)


def towards_usam(step: Float[Tensor, ""]) -> Tensor:
    """lam_t = 1/t, t from 1: from SAM to USAM."""
    return 1 / (step + 1)


def towards_sam(step: Float[Tensor, ""]) -> Tensor:
    """lam_t = 1 - 1/t, t from 1: from USAM to SAM."""
    return 1 - 1 / (step + 1)


def usam_rate(spectrum: Float[np.ndarray, " eigenvalue"], gamma: float, rho: float) -> float:
    """q with f_t <= q^(2t) f_0 for lam = 0 on a quadratic: max |1 - gamma l (1 + rho l)| over its eigenvalues l (derived)."""
    return float(np.abs(1 - gamma * spectrum * (1 + rho * spectrum)).max())


def plateau(L: Number, gamma: Number, rho: Number, lam: Number) -> Number:
    """Loss on a quadratic where unified SAM with lam > 0 ends, a 2-cycle along its top eigenvalue L (derived).

    L w^2/2, w = gamma L rho lam/(2 - gamma L (1 + rho (1 - lam) L)). Raises ValueError where the denominator is not > 0.
    """
    left = 2 - gamma * L * (1 + rho * (1 - lam) * L)
    if np.any(np.asarray(left) <= 0):
        raise ValueError(f"gamma L (1 + rho (1 - lam) L) must be below 2, or the iteration diverges; got {2 - left}")
    return 0.5 * L * (gamma * L * rho * lam / left) ** 2


def nonconvex_terms(L: float, A: float, B: float, C: float, lam: float, rho: float, gamma: float) -> DescentTerms:
    """The constants of one step without convexity or PL (derived, in place of Theorem 3.7).

    f_inf is any common lower bound and C belongs to it; the bound holds where `condition` <= 1/2.
    """
    _require(1.0, L, A, B, C, lam)
    w = (1 - lam) ** 2
    longer = 1 + 2 * L**2 * rho**2 * w
    return DescentTerms(
        L * (rho / 2 + rho * B * w + gamma * B * longer),
        2 * L * A * (rho * w + gamma * longer),
        L * rho * (w * C + lam**2) + L * gamma * longer * C + 2 * L**3 * rho**2 * gamma * lam**2,
    )


def least_gradient_bound(gap: float, T: int, gamma: float, terms: DescentTerms) -> float:
    """min over t < T of E|grad f(x^t)|^2 <= 2 gap (1 + gamma M)^T/(gamma T) + 2 n0, gap = f(x^0) - f_inf (derived)."""
    require_positive("gamma", gamma)
    return 2 * gap * math.exp(T * math.log1p(gamma * terms.M)) / (gamma * T) + 2 * terms.n0


def _require(mu: float, L: float, A: float, B: float, C: float, lam: float) -> None:
    require_positive("mu", mu)
    require_positive("L", L)
    for name, value in (("A", A), ("B", B), ("C", C)):
        require_nonnegative(name, value)
    if not B * mu + A > 0:
        raise ValueError(f"A and B must not both be 0: a gradient has a second moment; got A={A!r}, B={B!r}")
    refuse_outside("lam", lam, lower=0.0, upper=1.0)
