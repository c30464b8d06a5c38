"""What collaboration can do: stationary risk, best weight, the recursion of the bias error, a limit (arXiv:2111.05968)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.checks import require_nonnegative, require_positive

PerSetting = float | Float[np.ndarray, " setting"]


def mixed_variance(alpha: PerSetting, sigma0: float, sigma: float, N: PerSetting) -> Any:
    """sigma_alpha^2 = (1 - alpha)^2 sigma_0^2 + alpha^2 sigma^2/N: sigma^2/(N + 1) for alpha = N/(N + 1) and equal variances."""
    return (1 - alpha) ** 2 * sigma0**2 + alpha**2 * sigma**2 / N


def difference_variance(sigma0: float, sigma: float, N: PerSetting) -> Any:
    """sigma_b^2 = sigma_0^2 + sigma^2/N: of one observed difference of gradients."""
    return sigma0**2 + sigma**2 / N


def stationary_gap(
    alpha: PerSetting, zeta: float, eta: float, N: PerSetting, sigma0: float = 1.0, sigma: float = 1.0
) -> Any:
    """Where weighted averaging with a constant step ends on f_0 = x^2/2: 1/2 (alpha^2 zeta^2 + eta sigma_alpha^2/(2 - eta))."""
    _require_step(eta, zeta)
    return 0.5 * (alpha**2 * zeta**2 + eta * mixed_variance(alpha, sigma0, sigma, N) / (2 - eta))


def best_weight(zeta: float, eta: float, N: float, sigma0: float = 1.0, sigma: float = 1.0) -> float:
    """alpha* = sigma_0^2/(sigma_0^2 + sigma^2/N + zeta^2 (2 - eta)/eta), the minimiser of `stationary_gap`; 0 as eta -> 0.

    >>> round(best_weight(0.3, 0.1, 9), 5)
    0.35447
    """
    _require_step(eta, zeta)
    return sigma0**2 / (difference_variance(sigma0, sigma, N) + zeta**2 * (2 - eta) / eta)


def next_bias_error(
    u: np.ndarray,
    gradient: np.ndarray,
    eta: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    delta: np.ndarray | float,
    sigma_alpha: np.ndarray,
    sigma_b: np.ndarray,
) -> np.ndarray:
    """Right side of (R): u_{t+1}^2 <= ((1 - beta) u + delta eta (G + alpha u))^2 + (delta eta sigma_alpha + beta sigma_b)^2.

    u^2 = E|b(x_t) - c_t|^2, G^2 = E|grad f_0(x_t)|^2, for a bias b(x) that is affine with Lipschitz constant delta.
    """
    drift = (1 - beta) * u + delta * eta * (gradient + alpha * u)
    return drift**2 + (delta * eta * sigma_alpha + beta * sigma_b) ** 2


def solved_bias_error(
    u0: np.ndarray, gradients: Float[np.ndarray, "step setting"], betas: np.ndarray, **constants
) -> np.ndarray:
    """(R) as an equation, solved forward from u_0: bounds on u_t^2, one row a step.

    `gradients` are G_t, `constants` the other arguments of `next_bias_error`.
    """
    bounds = [np.asarray(u0, dtype=np.float64) ** 2]
    for gradient, beta in zip(gradients[:-1], betas[:-1], strict=True):
        bounds.append(next_bias_error(np.sqrt(bounds[-1]), gradient, beta=beta, **constants))
    return np.stack(bounds)


def small_shift_bound(
    u0: np.ndarray,
    T: int,
    eta: np.ndarray,
    beta: np.ndarray,
    delta: np.ndarray | float,
    sigma_alpha: np.ndarray,
    sigma_b: np.ndarray,
) -> np.ndarray:
    """Mean of u_t^2 for small delta: u_0^2/(beta T) + beta sigma_b^2 + 2 m sigma_b + m^2/beta, m = delta eta sigma_alpha.

    Not rigorous: the gradient's part of (R) is left out.
    """
    moved = delta * eta * sigma_alpha
    return u0**2 / (beta * T) + beta * sigma_b**2 + 2 * moved * sigma_b + moved**2 / beta


def least_gap(h: float, x0: float, T: int, zeta: float = np.inf, K0: int = 0, sigma0: float = 1.0) -> float:
    """Least E f_0(x_T) - f_0* of any method that is linear in the gradients, for f_0 = (h/2) (x - x*)^2 and a bias of known size.

    (h/2)/(h^2 (T + K0)/sigma_0^2 + 1/x_0^2 + h^2/zeta^2), however many users help: the best linear estimator of x* that knows the
    start's distance x_0 and the bias's size zeta (averaged over its sign). zeta = inf: the bias says nothing.
    """
    for name, value in (("h", h), ("sigma0", sigma0)):
        require_positive(name, value)
    if not zeta >= 0:
        raise ValueError(f"zeta, the size of the bias, must be >= 0 (infinity allowed), got {zeta!r}")
    with np.errstate(divide="ignore"):
        known = h**2 * (T + K0) / sigma0**2 + 1 / np.float64(x0) ** 2 + h**2 / np.float64(zeta) ** 2
    return float(h / 2 / known)


def _require_step(eta: float, zeta: float) -> None:
    if not 0 < eta < 2:
        raise ValueError(f"eta must lie in (0, 2) for curvature 1, got {eta!r}")
    require_nonnegative("zeta", zeta)
