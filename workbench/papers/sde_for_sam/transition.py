"""E G(x_k) of an algorithm and E G(X_{k eta}) of a diffusion on the line, for all starts at once and without sampling.

The algorithm's is a power of its transition operator, u_{k+1}(x) = E u_k(x+); the diffusion's solves the backward Kolmogorov
equation u_t = b u' + 1/2 s^2 u''.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline, make_interp_spline
from scipy.linalg import solve_banded
from scipy.sparse import csr_array

from workbench.checks import require_count, require_positive

Line = Float[np.ndarray, " place"]
Function = Callable[[np.ndarray], np.ndarray]

_TAIL = 8.5
"""Standard deviations at which the noise is cut off."""


def transition_operator_1d(
    step: Callable[[np.ndarray, np.ndarray], np.ndarray], kink: Function, places: Line, nodes: int = 40
) -> Float[np.ndarray, "place place"]:
    """The matrix that maps u on `places` to E u(step(x, Z)), Z standard normal, u a cubic spline.

    step(x, z) is the next iterate; it may have a kink at z = kink(x), on each side of which are `nodes` Gauss-Legendre nodes.
    Beyond the places u goes on as its last cubic: they must reach where the start that is asked for hardly gets.
    """
    require_count("nodes", nodes, low=2)
    at, weights = np.polynomial.legendre.leggauss(nodes)
    split = np.clip(kink(places), -_TAIL, _TAIL)[:, None]
    z, mass = [], []
    for low, high in ((-_TAIL, split), (split, _TAIL)):
        half = (high - low) / 2
        where = low + half * (1 + at)
        z.append(where)
        mass.append(half * weights * np.exp(-where * where / 2) / np.sqrt(2 * np.pi))
    share = np.concatenate(mass, axis=1)
    share /= share.sum(1, keepdims=True)
    reached = step(places[:, None], np.concatenate(z, axis=1))
    knots = make_interp_spline(places, places).t
    basis = BSpline.design_matrix(reached.ravel(), knots, 3, extrapolate=True)
    ends = np.arange(0, share.size + 1, share.shape[1])
    averaged = csr_array((share.ravel(), np.arange(share.size), ends)) @ basis
    values = BSpline.design_matrix(places, knots, 3).toarray()
    return np.linalg.solve(values.T, averaged.toarray().T).T


def backward_kolmogorov_1d(
    drift: Function, noise: Function, places: Line, u: Line, dt: float, steps: int
) -> Float[np.ndarray, "step place"]:
    """u after 0, 1, ..., steps Crank-Nicolson steps of u_t = b u' + 1/2 s^2 u'' on evenly spaced places.

    drift, noise: b(x) and s(x) of dX = b dt + s dW. At the two ends b u' is one-sided and s is taken as 0: the drift must point
    inwards there, and no start that is asked for may get near.
    """
    require_positive("dt", dt)
    require_count("steps", steps)
    width = places[1] - places[0]
    b, square = drift(places), noise(places) ** 2
    if not b[0] >= 0 >= b[-1]:
        raise ValueError(f"the drift must point inwards at both ends, got {b[0]:g} at {places[0]:g} and {b[-1]:g}")
    lower, upper = square / (2 * width**2) - b / (2 * width), square / (2 * width**2) + b / (2 * width)
    lower[0], upper[0], lower[-1], upper[-1] = 0.0, b[0] / width, -b[-1] / width, 0.0
    bands = np.zeros((3, len(places)))
    bands[0, 1:], bands[1], bands[2, :-1] = -upper[:-1], lower + upper, -lower[1:]
    implicit = dt / 2 * bands
    implicit[1] += 1.0
    found = [np.asarray(u, dtype=np.float64)]
    for _ in range(steps):
        now = found[-1]
        moved = -bands[1] * now
        moved[:-1] += upper[:-1] * now[1:]
        moved[1:] += lower[1:] * now[:-1]
        found.append(np.asarray(solve_banded((1, 1), implicit, now + dt / 2 * moved, check_finite=False)))
    return np.stack(found)
