"""Fixed-size identity test for a coin, and what no test can beat (arXiv:2205.06069, alphabets of two letters)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import betainc, rel_entr

_SCAN = 0.1
"""Feasibility of a batch size is not monotone (the parity of m moves the threshold): the sizes within this share below the
bisection's answer are all tried."""


def require_test(eps: float, delta: float) -> None:
    """Raise ValueError unless 0 < eps < 1/2 and 1e-280 < delta < 1/2."""
    if not 0 < eps < 0.5:
        raise ValueError(f"eps, the distance to detect, must lie in (0, 1/2), got {eps!r}")
    if not 1e-280 < delta < 0.5:
        raise ValueError(f"delta, the error probability, must lie in (1e-280, 1/2), got {delta!r}")


def kl(a: float | np.ndarray, b: float | np.ndarray) -> np.ndarray:
    """Relative entropy of Bernoulli(a) against Bernoulli(b) in nats, 0 ln 0 = 0."""
    return rel_entr(a, b) + rel_entr(1 - np.asarray(a), 1 - np.asarray(b))


def chernoff_information(p: float, q: float) -> float:
    """Exponent of the best fixed-size test between Bernoulli(p) and Bernoulli(q), 0 < p != q < 1.

    It is kl(x, p) = kl(x, q) at the x between them where the two agree.
    """
    if p == q or not (0 < p < 1 and 0 < q < 1):
        raise ValueError(f"p and q must differ and lie in (0, 1), got {p!r} and {q!r}")
    tails = math.log1p(-p) - math.log1p(-q)
    return float(kl(tails / (tails + math.log(q) - math.log(p)), p))


def limit_ratios(eps: float) -> tuple[float, float]:
    """Limits of batch size over expected sequential size as delta -> 0: without and with a difference of eps.

    >>> [round(ratio, 3) for ratio in limit_ratios(0.2)]
    [4.088, 3.859]
    """
    information = chernoff_information(0.5, 0.5 + eps)
    return float(kl(0.5, 0.5 + eps)) / information, float(kl(0.5 + eps, 0.5)) / information


def expected_size_bound(eps: float, delta: float) -> tuple[float, float]:
    """Least expected size of any delta-correct test, at p = 1/2 and at p = 1/2 + eps.

    kl(delta, 1 - delta) over kl(1/2, 1/2 + eps) and over kl(1/2 + eps, 1/2): the lower bound of arXiv:2205.06069, Section 3.
    """
    require_test(eps, delta)
    evidence = (1 - 2 * delta) * (math.log1p(-delta) - math.log(delta))
    return evidence / float(kl(0.5, 0.5 + eps)), evidence / float(kl(0.5 + eps, 0.5))


def first_true(holds: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Smallest integer of each low..high at which `holds` (false, then true) is true; high + 1 where it never is."""
    low, high = np.array(low, dtype=np.int64), np.array(high, dtype=np.int64) + 1
    while (open_ := low < high).any():
        middle = (low + high) // 2
        true = holds(middle)
        high = np.where(open_ & true, middle, high)
        low = np.where(open_ & ~true, middle + 1, low)
    return low


def batch_threshold(m: int | np.ndarray, delta: float) -> np.ndarray:
    """Least k with 2 P(Bin(m, 1/2) >= k) <= delta: the fixed-size test of m samples rejects for S >= k or S <= m - k.

    m + 1, no rejection at all, where even k = m is too likely.
    """
    m = np.atleast_1d(np.asarray(m, dtype=np.int64))

    # bisecting the tail itself: inverse survival functions return wrong quantiles for delta below about 1e-12
    def rare(k: np.ndarray) -> np.ndarray:
        return 2 * betainc(np.maximum(k, 1), np.maximum(m - k + 1, 0.5), 0.5) <= delta

    return first_true(rare, m // 2 + 1, m)


def batch_miss(m: int | np.ndarray, eps: float, delta: float) -> np.ndarray:
    """Probability that the fixed-size test of m samples accepts p = 1/2 although p = 1/2 + eps."""
    m = np.atleast_1d(np.asarray(m, dtype=np.int64))
    k = batch_threshold(m, delta)
    miss = _below(k, m, 0.5 + eps) - _below(m - k + 1, m, 0.5 + eps)
    return np.where(k > m, 1.0, miss)


def _below(k: np.ndarray, m: np.ndarray, p: float) -> np.ndarray:
    """P(Bin(m, p) < k) as a lower tail, accurate where it is tiny."""
    return np.where(k <= 0, 0.0, betainc(np.maximum(m - k + 1.0, 0.5), np.maximum(k, 1), 1 - p))


def batch_size_bernoulli(eps: float, delta: float) -> int:
    """Smallest number of samples at which the fixed-size test errs at most with probability delta at 1/2 and at 1/2 + eps.

    >>> batch_size_bernoulli(0.2, 1e-8)
    759
    """
    require_test(eps, delta)

    def enough(m: int) -> bool:
        return bool((batch_miss(np.array([m, m + 1]), eps, delta) <= delta).all())

    high = max(2, math.ceil(math.log(1 / delta) / eps**2))
    while not enough(high):
        high *= 2
    low = 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    near = np.arange(max(1, math.floor((1 - _SCAN) * high) - 30), high + 2)
    return int(near[batch_miss(near, eps, delta) <= delta][0])
