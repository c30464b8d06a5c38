"""What sharpness-aware gradient descent does in a `HiddenValley`, in closed form (derived from arXiv:2511.03548, Theorem 3).

The adversarial inner maximiser r e_(I,t) makes w_t(I, s) = -step for s < t and 0 elsewhere, with step = eta (r - rho). All
functions take c = step sqrt(T) and the number of iterates T.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def suffix_norm(c: float, T: int, tau: int | np.ndarray) -> Float[np.ndarray, "..."]:
    """Norm of the suffix average w_tau = mean of the iterates tau, ..., T (tau = 1 is the full average).

    (c/sqrt T) sqrt(tau - 1 + (T - tau)(2T - 2tau + 1)/(6 (T - tau + 1))).
    """
    rest = T - np.asarray(tau, dtype=float)
    return c / np.sqrt(T) * np.sqrt(T - rest - 1 + rest * (2 * rest + 1) / (6 * (rest + 1)))


def suffix_risk(rho: float | np.ndarray, c: float | np.ndarray, T: int, tau: int | np.ndarray) -> np.ndarray:
    """Population risk of the suffix average: 1/4 [|w_tau| - rho]_+^2. Smallest at tau = 1."""
    return 0.25 * np.clip(suffix_norm(1.0, T, tau) * c - rho, 0, None) ** 2


def limit_risk(rho: float | np.ndarray, c: float | np.ndarray) -> np.ndarray:
    """Population risk of the full average for T -> infinity: 1/4 [c/sqrt 3 - rho]_+^2. Zero from rho = c/sqrt 3 on."""
    return 0.25 * np.clip(np.asarray(c) / np.sqrt(3) - rho, 0, None) ** 2


def radius(rho: float, c: float, T: int, eta: float) -> float:
    """The radius r = rho + c/(eta sqrt T) at which SA-GD moves by c/sqrt T a step."""
    return rho + c / (eta * np.sqrt(T))


def valley_saer(c: float, T: int, eta: float) -> float:
    """Sharpness-aware empirical risk of every iterate and every suffix average: 1/2 (r - rho)^2 = c^2/(2 eta^2 T)."""
    return c**2 / (2 * eta**2 * T)


def optimization_bound(eta: float, T: int, excess: float, *, smoothness: float = 1.0, distance: float = 1.0) -> float:
    """|w_1 - w*|^2/(eta T) + 4 beta max(r - rho, 0)^2, excess = r - rho (Theorem 2 for SA-GD's SAER, Theorem 5 for SAM's risk).

    Holds for eta <= 1/(4 beta).
    """
    return distance**2 / (eta * T) + 4 * smoothness * np.clip(excess, 0, None) ** 2


def stability_bound(
    n: int, T: int, eta: float, r: float, rho: float, *, smoothness: float = 1.0, empirical: float = 0.0
) -> float:
    """4 F_S + 3 beta eps, eps = 24 eta beta r^2 T + 96 beta eta T/n^2 + 768 beta^2 eta^2 T^2 max(r - rho, 0)^2/n^2.

    The upper bound on the expected population risk with the constants of its proof, for |w_1 - w*| <= 1 and
    eta <= 1/(4 beta) (Theorems 4 and 8).
    """
    b = smoothness
    stability = 24 * eta * b * r**2 * T + 96 * b * eta * T / n**2
    stability += 768 * (b * eta * T * max(r - rho, 0.0) / n) ** 2
    return 4 * empirical + 3 * b * stability
