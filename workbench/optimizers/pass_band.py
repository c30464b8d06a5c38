"""Which Hessian eigenvalues a converged optimizer can have ended at (arXiv:2510.09034).

At a critical point the Jacobian of g~ is a polynomial p(H) of the Hessian. For almost every start, a limit of the rule has
0 <= p(lambda) <= c/alpha for every eigenvalue lambda, with c = 2 (no momentum), 2(1+beta) (heavy ball),
2(1+beta)/(1+2 beta) (Nesterov).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from workbench.optimizers.rule import Plain, Rule
from workbench.optimizers.sharpness_aware import GradientPenalty, HessianUSAM, NestedUSAM, TwoStepUSAM, UnifiedSAM
from workbench.parameters import concrete

Interval = tuple[float, float]

Values = Any
"""Eigenvalues: a number, a NumPy array or a tensor; results are of the same kind."""


def curvature_polynomial(rule: Rule) -> Callable[[Values], Values]:
    """p with Jac g~ = p(H) at critical points, as a function of eigenvalues (floats, arrays or tensors).

    gd: l; usam and grad_penalty: l(1 + rho l); usam_two_step: l(1 + rho l)^2; usam_nested: l(1 + rho l + rho^2 l^2);
    hessian_usam: l(1 + rho l^2). Works inside sweeps, where every run has its own hyper-parameters.
    Raises ValueError for rules whose g~ is not differentiable at critical points.
    """
    rho = _rho(rule)
    match rule.gradient:
        case Plain():
            return lambda eigenvalue: eigenvalue * 1.0
        case UnifiedSAM() | GradientPenalty():
            return lambda eigenvalue: eigenvalue * (1 + rho * eigenvalue)
        case TwoStepUSAM():
            return lambda eigenvalue: eigenvalue * (1 + rho * eigenvalue) ** 2
        case NestedUSAM():
            return lambda eigenvalue: eigenvalue * (1 + rho * eigenvalue + (rho * eigenvalue) ** 2)
        case HessianUSAM():
            return lambda eigenvalue: eigenvalue * (1 + rho * eigenvalue**2)
    raise _no_filter(rule)


def stability_constant(rule: Rule) -> float | Tensor:
    """c of the filter 0 <= p(lambda) <= c/alpha (Jury test on the momentum scheme's characteristic polynomial)."""
    beta = _value("beta", rule.beta)
    return {"none": 2.0, "heavy_ball": 2 * (1 + beta), "nesterov": 2 * (1 + beta) / (1 + 2 * beta)}[rule.momentum]


def filter_ratio(rule: Rule, eigenvalues: Values) -> Values:
    """alpha p(lambda)/c for every eigenvalue: between 0 and 1 where the filter lets it pass.

    Works inside sweeps.

    >>> from workbench.optimizers import gradient_descent
    >>> filter_ratio(gradient_descent(0.5), 3.0)
    0.75
    """
    return _value("step_size", rule.step_size) * curvature_polynomial(rule)(eigenvalues) / stability_constant(rule)


def update_radius(rule: Rule, eigenvalue: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Spectral radius of the update's Jacobian in an eigendirection of the Hessian, at a critical point.

    With q = alpha p(lambda) it is |1 - q| without momentum, and the larger root's modulus of z^2 - (1 + beta - q) z + beta
    (heavy ball) or z^2 - (1 + beta)(1 - q) z + beta (1 - q) (Nesterov).
    """
    step_size, beta = _number("step_size", rule.step_size), _number("beta", rule.beta)
    q = step_size * curvature_polynomial(rule)(np.asarray(eigenvalue, dtype=float))
    if rule.momentum == "none":
        return np.abs(1 - q)
    trace, product = (
        (1 + beta - q, beta + 0 * q) if rule.momentum == "heavy_ball" else ((1 + beta) * (1 - q), beta * (1 - q))
    )
    root = np.sqrt((trace**2 - 4 * product).astype(complex))
    return np.maximum(np.abs(trace + root), np.abs(trace - root)) / 2


def admissible_set(rule: Rule) -> list[Interval]:
    """The eigenvalues lambda with 0 <= p(lambda) <= c/alpha, as disjoint closed intervals in increasing order.

    A single point appears as an interval of length zero (-1/rho for Two-step USAM).

    >>> from workbench.optimizers import gradient_descent, usam
    >>> admissible_set(gradient_descent(0.5))
    [(0.0, 4.0)]
    >>> admissible_set(usam(0.5, 0.5))
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    polynomial, rho = curvature_polynomial(rule), float(_rho(rule))
    bound = float(stability_constant(rule)) / _number("step_size", rule.step_size)
    if rho == 0 or isinstance(rule.gradient, Plain):
        return [(0.0, bound)]
    if isinstance(rule.gradient, (UnifiedSAM, GradientPenalty)):
        root = math.sqrt(1 + 4 * rho * bound)
        # (-1 + root)/(2 rho) without the cancellation at small rho.
        return [(-(1 + root) / (2 * rho), -1 / rho), (0.0, 2 * bound / (1 + root))]
    # The other polynomials increase on [0, inf) with p(lambda) >= lambda there.
    upper = brentq(
        lambda eigenvalue: polynomial(eigenvalue) - bound, 0.0, bound, xtol=1e-300, rtol=4 * np.finfo(float).eps
    )
    below = [(-1 / rho, -1 / rho)] if isinstance(rule.gradient, TwoStepUSAM) else []
    return [*below, (0.0, float(upper))]  # type: ignore[arg-type]


def max_sharpness(rule: Rule) -> float:
    """The largest admissible eigenvalue: the upper end of `admissible_set`."""
    return admissible_set(rule)[-1][1]


def _rho(rule: Rule) -> float | Tensor:
    gradient = rule.gradient
    if isinstance(gradient, Plain):
        return 0.0
    if isinstance(gradient, UnifiedSAM) and _number("lam", gradient.lam) != 0 and not _is_zero(gradient.rho):
        raise _no_filter(rule)
    if "rho" not in vars(gradient):
        raise _no_filter(rule)
    return _value("rho", vars(gradient)["rho"])


def _is_zero(rho: object) -> bool:
    number = _value("rho", rho)
    return not isinstance(number, Tensor) and number == 0


def _value(name: str, value: object) -> float | Tensor:
    """The number, or the tensor of a sweep in which every run has its own."""
    if callable(value):
        raise ValueError(f"{name} is a schedule; the filter is defined for constant hyper-parameters")
    if isinstance(value, Tensor):
        number = concrete(value)
        return value if number is None else number
    return float(value)  # type: ignore[arg-type]


def _number(name: str, value: object) -> float:
    number = _value(name, value)
    if isinstance(number, Tensor):
        raise ValueError(f"{name} differs from run to run; ask for the pass band outside the sweep, one rule at a time")
    return number


def _no_filter(rule: Rule) -> ValueError:
    return ValueError(
        f"{rule.name} has no eigenvalue filter: its effective gradient is not differentiable at critical points or is "
        "random; the filter is known for gd, usam, grad_penalty, usam_two_step, usam_nested and hessian_usam"
    )
