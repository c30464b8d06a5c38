"""How many measurements a rank-r matrix needs: the statistical dimension of the trace norm's descent cone."""

from __future__ import annotations

import functools

import numpy as np
from scipy.optimize import minimize_scalar

from workbench import draws
from workbench.checks import require_count


@functools.lru_cache(maxsize=256)
def statistical_dimension(d: int, T: int, r: int, *, n_mc: int = 200, seed: int = 0) -> float:
    """delta = min_tau r (d + T - r + tau^2) + E sum_i (s_i(G) - tau)_+^2, G Gaussian of (d - r) x (T - r).

    Noiseless recovery of a generic T x d matrix of rank r by the trace norm turns from impossible to certain near delta
    Gaussian measurements (Amelunxen, Lotz, McCoy and Tropp, arXiv:1303.6672, proposition 4.7 with its equation D.8 in the
    limit); with m samples a task near m = delta/T. The expectation is a mean over n_mc matrices (relative error about
    1/sqrt(n_mc d T)).

    Raises:
        ValueError: unless 1 <= r < min(d, T).
    """
    for name, value in (("d", d), ("T", T), ("r", r), ("n_mc", n_mc)):
        require_count(name, value, 1)
    if r >= min(d, T):
        raise ValueError(f"r must be below min(d, T) = {min(d, T)}, got {r!r}")
    gaussian = draws.normal(seed, (n_mc, d - r, T - r), stream="statistical dimension").numpy()
    values = np.linalg.svd(gaussian, compute_uv=False)

    def at(tau: float) -> float:
        return r * (d + T - r + tau**2) + float((np.clip(values - tau, 0.0, None) ** 2).sum(1).mean())

    return float(minimize_scalar(at, bounds=(0.0, float(values.max())), method="bounded").fun)
