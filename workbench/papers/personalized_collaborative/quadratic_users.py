"""Exact expectations of gradient averaging and bias correction among users with quadratic objectives (arXiv:2111.05968).

User 0 minimises f_0 = 1/2 sum_j h_j x_j^2. The mean of the N others has curvature h + Delta and gradient b at 0, so that the
bias of their gradient is b(x) = b + Delta x. The variance of user 0's gradient is s0 in every coordinate, that of the others'
mean sbar.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from jaxtyping import Float

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.dynamics.moments import AffineStep, affine_path

Mode = Literal["bc", "wga", "local"]
_BLOCK = 256
PerSetting = float | Float[np.ndarray, " setting"]
PerCoordinate = Float[np.ndarray, "... coordinate"]


def full_weight(N: PerSetting) -> Any:
    """alpha = N/(N + 1): every user's gradient counts alike."""
    return N / (N + 1.0)


def momentum_of_the_bias(beta: PerSetting, K0: int, t: int) -> PerSetting:
    """beta_t = max(beta, 1/(t + 1 + K0)): a running mean of all differences seen, then an exponential one of weight beta."""
    return np.maximum(beta, 1.0 / (t + 1 + K0))


def hard_spectrum(d: int, decades: float = 4.0) -> Float[np.ndarray, " coordinate"]:
    """d curvatures from 1 down to 10^-decades, evenly in the logarithm: barely strongly convex, L = 1."""
    require_count("d", d)
    return np.logspace(0, -decades, d)


def even_start(h: Float[np.ndarray, " coordinate"], gap: float = 1.0) -> Float[np.ndarray, " coordinate"]:
    """x_0 proportional to h^(-1/2), every coordinate with the same share of f_0(x_0) - f_0* = gap."""
    return np.sqrt(2 * gap / (len(h) * h))


def direction(seed: int, d: int) -> Float[np.ndarray, " coordinate"]:
    """A random direction of norm 1."""
    drawn = draws.normal(seed, (d,), stream="bias").numpy()
    return drawn / math.sqrt(float((drawn**2).sum()))


def hessian_shift(seed: int, h: Float[np.ndarray, " coordinate"], delta: float) -> Float[np.ndarray, " coordinate"]:
    """Delta_j = max(+-delta, -0.9 h_j) with random signs: the others' curvature differs by at most delta and stays positive."""
    require_nonnegative("delta", delta)
    return np.maximum(delta * draws.signs(seed, (len(h),), stream="shift").numpy(), -0.9 * h)


def collab_moments(
    h: PerCoordinate,
    b: PerCoordinate,
    delta: PerCoordinate | float,
    x0: PerCoordinate,
    eta: PerSetting,
    alpha: PerSetting,
    beta: PerSetting,
    s0: PerSetting,
    sbar: PerSetting,
    T: int,
    K0: int = 0,
    mode: Mode = "bc",
    *,
    bias_error: bool = False,
) -> xr.Dataset:
    """Exact expectations after 0 .. T steps, averaged over +b and -b, for many settings at once: dims (setting, step).

    h, b, delta (Delta of the module), x0: [coordinate] or [setting, coordinate]; the others: a number or [setting]. BC steps with
    beta_t = max(beta, 1/(t + 1 + K0)) from c_0 = mean of K0 differences at x0 (0 for K0 = 0); "wga" keeps c = 0; "local" has
    alpha = 0. Returns `gradient` = E|grad f_0(x_t)|^2, `gap` = E f_0(x_t) - f_0*, on request `bias_error` = E|b(x_t) - c_t|^2.
    Raises ValueError unless alpha, beta lie in [0, 1], variances are >= 0, step sizes, h and h + alpha delta > 0.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    require_count("T", T)
    require_count("K0", K0, 0)
    eta, alpha, beta, s0, sbar = np.broadcast_arrays(*(_column(value) for value in (eta, alpha, beta, s0, sbar)))
    alpha = np.zeros_like(alpha) if mode == "local" else alpha
    h, b, delta, x0 = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (h, b, delta, x0))
    _require(h, delta, eta, alpha, beta, s0, sbar)
    step, mean, spread = (_corrected if mode == "bc" else _averaged)(
        h, _with_sign(b), delta, _of_start(x0), eta, alpha, beta, s0, sbar, K0
    )
    shape = np.broadcast_shapes(eta.shape[:1], h.shape[:-1], b.shape[:-1], delta.shape[:-1], x0.shape[:-1])
    curved, seconds, errors, blocks = np.broadcast_to(h, (*shape, h.shape[-1])), [], [], []
    # A setting that explodes is data: infinities and NaN say when.
    with np.errstate(over="ignore", invalid="ignore"):
        for t, (middle, covariance) in zip(range(T + 1), affine_path(step, mean, spread), strict=False):
            seconds.append(np.broadcast_to((middle[0] ** 2).sum(0) + covariance[0][0], curved.shape))
            if bias_error:
                errors.append(np.broadcast_to(_bias_error(middle, covariance, _with_sign(b), delta), shape))
            if t == T or len(seconds) == _BLOCK:
                block = np.stack(seconds)
                blocks.append(tuple(np.einsum("tsj,sj->ts", block, weights) for weights in (curved**2, 0.5 * curved)))
                seconds = []
    gradient, gap = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    found = {
        "gradient": (("step", "setting"), gradient, {"long_name": "expected squared gradient norm of f_0"}),
        "gap": (("step", "setting"), gap, {"long_name": "expected f_0 - f_0*"}),
    }
    if bias_error:
        words = {"long_name": "expected squared error of the learned bias"}
        found["bias_error"] = (("step", "setting"), np.stack(errors), words)
    return xr.Dataset(found, coords={"step": np.arange(T + 1)}).transpose("setting", "step")


def _bias_error(middle: list, covariance: list, b: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """E|b + delta x - c|^2 of each setting; a method without c has one state."""
    learns = len(middle) == 2
    off = b + delta * middle[0] - (middle[1] if learns else 0.0)
    noise = delta**2 * covariance[0][0]
    if learns:
        noise = noise - 2 * delta * covariance[0][1] + covariance[1][1]
    return ((off**2).sum(0) + noise).sum(-1)


def _column(value: PerSetting) -> Float[np.ndarray, "setting 1"]:
    return np.atleast_1d(np.asarray(value, dtype=np.float64))[:, None]


def _of_start(x0: np.ndarray) -> np.ndarray:
    """What start and bias contribute to the mean, as rows: averaged over the bias's sign, their squares add up."""
    return np.stack([x0, np.zeros_like(x0)])[:, None] if x0.ndim == 1 else np.stack([x0, np.zeros_like(x0)])


def _with_sign(b: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(b), b])[:, None] if b.ndim == 1 else np.stack([np.zeros_like(b), b])


def _averaged(h, b, delta, x0, eta, alpha, beta, s0, sbar, K0):
    variance = eta**2 * ((1 - alpha) ** 2 * s0 + alpha**2 * sbar)
    constant = AffineStep([[1 - eta * (h + alpha * delta)]], [-eta * alpha * b], [[variance]])
    return constant, [x0], [[0.0]]


def _corrected(h, b, delta, x0, eta, alpha, beta, s0, sbar, K0):
    forward, back = 1 - eta * (h + alpha * delta), eta * alpha
    drift, moved = -eta * alpha * b, eta**2 * ((1 - alpha) ** 2 * s0 + alpha**2 * sbar)
    shared, seen = -eta * (alpha * sbar - (1 - alpha) * s0), s0 + sbar

    def step(t: int) -> AffineStep:
        rate = momentum_of_the_bias(beta, K0, t)
        both = rate * shared
        return AffineStep(
            [[forward, back], [rate * delta, 1 - rate]], [drift, rate * b], [[moved, both], [both, rate**2 * seen]]
        )

    learned, spread = (b + delta * x0, seen / K0) if K0 else (0.0, 0.0)
    return step, [x0, learned], [[0.0, 0.0], [0.0, spread]]


def _require(h, delta, eta, alpha, beta, s0, sbar) -> None:
    limits: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray], str]] = {
        "eta": (eta, lambda v: v > 0, "> 0"),
        "alpha": (alpha, lambda v: (v >= 0) & (v <= 1), "in [0, 1]"),
        "beta": (beta, lambda v: (v >= 0) & (v <= 1), "in [0, 1]"),
        "s0": (s0, lambda v: v >= 0, ">= 0"),
        "sbar": (sbar, lambda v: v >= 0, ">= 0"),
        "h": (h, lambda v: v > 0, "> 0"),
        "h + alpha delta": (h + alpha * delta, lambda v: v > 0, "> 0, or the averaged problem is not convex"),
    }
    for name, (values, holds, allowed) in limits.items():
        if not (np.isfinite(values) & holds(values)).all():
            raise ValueError(
                f"{name} must be {allowed}, got {values[~(np.isfinite(values) & holds(values))].flat[0]:g}"
            )
