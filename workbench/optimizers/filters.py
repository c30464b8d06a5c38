"""Which Hessian eigenvalues a converged optimizer can have ended at (arXiv:2510.09034).

At a critical point the Jacobian of g~ is a polynomial p(H) of the Hessian. For almost every start, a limit of the rule has
0 <= p(lambda) <= c/alpha for every eigenvalue lambda, with c = 2 (no momentum), 2(1+beta) (heavy ball),
2(1+beta)/(1+2 beta) (Nesterov).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from workbench.optimizers.rule import Plain, Rule
from workbench.optimizers.sharpness_aware import GradientPenalty, HessianUSAM, NestedUSAM, TwoStepUSAM, UnifiedSAM

Interval = tuple[float, float]


def curvature_polynomial(rule: Rule) -> Callable[[Float[np.ndarray, ...]], Float[np.ndarray, ...]]:
    """p with Jac g~ = p(H) at critical points, as a function of eigenvalues (floats, arrays or tensors).

    gd: l; usam and grad_penalty: l(1 + rho l); usam_two_step: l(1 + rho l)^2; usam_nested: l(1 + rho l + rho^2 l^2);
    hessian_usam: l(1 + rho l^2). Raises ValueError for rules whose g~ is not differentiable at critical points.
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


def stability_constant(rule: Rule) -> float:
    """c of the filter 0 <= p(lambda) <= c/alpha (Jury test on the momentum scheme's characteristic polynomial)."""
    beta = _number("beta", rule.beta)
    return {"none": 2.0, "heavy_ball": 2 * (1 + beta), "nesterov": 2 * (1 + beta) / (1 + 2 * beta)}[rule.momentum]


def admissible_set(rule: Rule) -> list[Interval]:
    """The eigenvalues lambda with 0 <= p(lambda) <= c/alpha, as disjoint closed intervals in increasing order.

    A single point appears as an interval of length zero (-1/rho for Two-step USAM).

    >>> from workbench.optimizers import gradient_descent, usam
    >>> admissible_set(gradient_descent(0.5))
    [(0.0, 4.0)]
    >>> admissible_set(usam(0.5, 0.5))
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    polynomial, rho = curvature_polynomial(rule), _rho(rule)
    bound = stability_constant(rule) / _number("step_size", rule.step_size)
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


def _rho(rule: Rule) -> float:
    gradient = rule.gradient
    if isinstance(gradient, Plain):
        return 0.0
    if isinstance(gradient, UnifiedSAM) and _number("lam", gradient.lam) != 0 and _number("rho", gradient.rho) != 0:
        raise _no_filter(rule)
    if "rho" not in vars(gradient):
        raise _no_filter(rule)
    return _number("rho", vars(gradient)["rho"])


def _number(name: str, value: object) -> float:
    if callable(value):
        raise ValueError(f"{name} is a schedule; the filter is defined for constant hyper-parameters")
    return float(value.item() if isinstance(value, Tensor) else value)  # type: ignore[arg-type]


def _no_filter(rule: Rule) -> ValueError:
    return ValueError(
        f"{rule.name} has no eigenvalue filter: its effective gradient is not differentiable at critical points or is "
        "random; the filter is known for gd, usam, grad_penalty, usam_two_step, usam_nested and hessian_usam"
    )
