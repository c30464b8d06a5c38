"""Closeness over large alphabets: the statistic Z of four samples, its exact mean, its thresholds (arXiv:2205.06069)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from scipy.optimize import root_scalar
from scipy.special import gammainc, gammaincc

from workbench.checks import require_count, require_positive

FIRST_CHECK = 8
_GROWTH = 115  # per cent: integers, so that the grid is the same everywhere
_MOST_TERMS = 2**20

CONSTANTS = {"rigorous": 32.0, "calibrated": 4.0}
"""c of the threshold: 32 follows from bounded differences; 4 is twice the largest Var(Z)/t seen under D1 = D2, no theorem."""


def threshold_constant(threshold: str | float) -> float:
    """c named "rigorous" (32) or "calibrated" (4), or given as a number > 0."""
    if isinstance(threshold, str):
        if threshold not in CONSTANTS:
            raise ValueError(f"threshold must be one of {', '.join(CONSTANTS)} or a number > 0, got {threshold!r}")
        return CONSTANTS[threshold]
    require_positive("threshold", threshold)
    return float(threshold)


def sample_counts(indices: Int[np.ndarray, " sample"], n: int) -> Int[np.ndarray, " letter"]:
    """How often each of the letters 0 .. n - 1 occurs: far cheaper than a multinomial draw for fewer samples than letters."""
    return np.bincount(indices, minlength=n)


def z_statistic(X: np.ndarray, X2: np.ndarray, Y: np.ndarray, Y2: np.ndarray) -> np.ndarray:
    """Z = sum_i |X_i - Y_i| + |X2_i - Y2_i| - |X_i - X2_i| - |Y_i - Y2_i| of counts [..., letter].

    X and X2 are counted in samples of D1, Y and Y2 in samples of D2.
    """
    between = np.abs(X - Y) + np.abs(X2 - Y2)
    return (between - np.abs(X - X2) - np.abs(Y - Y2)).sum(-1)


def mean_z(t: float, n: int, d: float) -> float:
    """E Z of four samples of Poisson(t) letters, D1 uniform on n letters, D2 alternately (1 +- 2 d)/n.

    2 E|A - B| - E|A - A'| - E|B - B'| = 2 sum_k (F_A(k) - F_B(k))^2 makes it n sum_+- sum_k (F(k; t/n) - F(k; (1 +- 2 d) t/n))^2
    over Poisson distribution functions: positive terms, no cancellation however small t/n is.
    """
    _require_pair(n, d)
    require_positive("t", t)
    spread = 4 * d * t / n + 40 * math.sqrt(t / n)
    if spread > _MOST_TERMS:
        raise ValueError(
            f"t = {t:g} samples of n = {n} letters at d = {d:g}: the exact mean would sum {spread:.1e} terms, "
            f"more than 2^20; take fewer samples, more letters or a larger d"
        )
    return n * sum(_squared_distance(t / n, t / n * (1 + sign * 2 * d)) for sign in (-1, 1))


def _squared_distance(a: float, b: float) -> float:
    low, high = min(a, b), max(a, b)
    first = max(0, math.floor(low - 10 * math.sqrt(low) - 30))
    k = np.arange(first, math.ceil(high + 10 * math.sqrt(high) + 30))
    # differences of the smaller tail: the larger one is near 1 and would lose the digits
    upper = gammainc(k + 1.0, high) - gammainc(k + 1.0, low)
    lower = gammaincc(k + 1.0, low) - gammaincc(k + 1.0, high)
    return float((np.where(k + 1 > low, upper, lower) ** 2).sum())


def z_threshold(t: float | np.ndarray, delta: float, c: float) -> np.ndarray:
    """u_t = sqrt(c t ln(pi^2 k^2/(6 delta))), k = max(1, 1 + ln(t/8)/ln 1.15), the number of the check at t."""
    t = np.asarray(t, dtype=np.float64)
    k = np.maximum(1.0, 1 + np.log(t / FIRST_CHECK) / math.log(_GROWTH / 100))
    return np.sqrt(c * t * (2 * np.log(math.pi * k) - math.log(6 * delta)))


def check_times(t_max: int) -> Int[np.ndarray, " check"]:
    """8, then each time max(t + 1, ceil(1.15 t)), up to t_max."""
    require_count("t_max", t_max, FIRST_CHECK)
    times = [FIRST_CHECK]
    while (following := max(times[-1] + 1, -(-_GROWTH * times[-1] // 100))) <= t_max:
        times.append(following)
    return np.array(times)


def crossing_time(n: int, d: float, delta: float, c: float) -> float:
    """t* at which E Z_t(n, d) = u_t: when the test is expected to see the difference."""
    require_positive("c", c)
    return _crossing(n, d, lambda t: float(z_threshold(t, delta, c)), delta)


def z_batch_size(n: int, d: float, delta: float, c: float) -> float:
    """m at which E Z_m(n, d) = 2 sqrt(c m ln(1/delta)): the fixed-size test with the threshold in the middle."""
    require_positive("c", c)
    return _crossing(n, d, lambda t: 2 * math.sqrt(-c * t * math.log(delta)), delta)


def accepting_check(n: int, eps: float, delta: float, c: float) -> int:
    """First check at which E Z_t(n, eps) >= 2 u_t: a test that knows eps then accepts."""
    require_positive("c", c)
    reached = _crossing(n, eps, lambda t: 2 * float(z_threshold(t, delta, c)), delta)
    times = check_times(math.ceil(1.4 * reached) + 2 * FIRST_CHECK)
    enough = [t for t in times.tolist() if t >= 0.9 * reached and mean_z(t, n, eps) >= 2 * z_threshold(t, delta, c)]
    return enough[0]


def _crossing(n: int, d: float, level: Callable[[float], float], delta: float) -> float:
    _require_pair(n, d)
    if not 0 < delta < 0.5:
        raise ValueError(f"delta, the error probability, must lie in (0, 1/2), got {delta!r}")

    def excess(log_t: float) -> float:
        t = math.exp(log_t)
        return math.log(mean_z(t, n, d) / level(t))

    high = 1.0
    while excess(high) < 0:
        high += 1.0
    while excess(high - 1.0) > 0:
        high -= 1.0
    return math.exp(root_scalar(excess, bracket=(high - 1.0, high), method="brentq", xtol=1e-14, rtol=1e-14).root)


def _require_pair(n: int, d: float) -> None:
    if not (isinstance(n, int) and n >= 2 and n % 2 == 0):
        raise ValueError(f"n must be an even int >= 2 (letters gain and lose in pairs), got {n!r}")
    if not 0 < d < 0.5:
        raise ValueError(f"d, the distance 1 +- 2 d of the pairs, must lie in (0, 1/2), got {d!r}")
