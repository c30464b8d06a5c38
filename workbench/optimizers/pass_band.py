"""Which Hessian eigenvalues a converged optimizer can have ended at (arXiv:2510.09034).

At a critical point the Jacobian of g~ is a polynomial p(H) of the Hessian. For almost every start, a limit of the rule has
0 <= p(lambda) <= c/step_size for every eigenvalue lambda, with c = 2 (no momentum), 2(1+beta) (heavy ball),
2(1+beta)/(1+2 beta) (Nesterov). The rule itself knows p and c: `rule.filter()`.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.optimizers.cycles import TwoCycle
from workbench.optimizers.momentum import Descent
from workbench.optimizers.rule import Filter, Rule
from workbench.parameters import Scalar

Interval = tuple[float, float]

Values = Any
"""Eigenvalues: a number, a NumPy array or a tensor; results are of the same kind."""


def curvature_polynomial(rule: Rule) -> Callable[[Values], Values]:
    """p with Jac g~ = p(H) at critical points, as a function of eigenvalues (floats, arrays or tensors).

    Works inside sweeps, where every run has its own hyper-parameters.
    Raises ValueError for rules whose g~ is not differentiable at critical points.

    >>> import workbench as wb
    >>> wb.optimizers.curvature_polynomial(wb.optimizers.usam(0.1, rho=0.5))(2.0)  # lambda (1 + rho lambda)
    4.0
    """
    return rule.filter().polynomial


def stability_constant(rule: Rule) -> Scalar:
    """c of the filter 0 <= p(lambda) <= c/step_size (Jury test on the momentum scheme's characteristic polynomial).

    >>> import workbench as wb
    >>> wb.optimizers.stability_constant(wb.optimizers.heavy_ball(0.1, beta=0.5))  # 2 (1 + beta)
    3.0
    """
    return rule.filter().constant


def filter_ratio(rule: Rule, eigenvalues: Values) -> Values:
    """step_size p(lambda)/c for every eigenvalue: between 0 and 1 where the filter lets it pass.

    Works inside sweeps.

    >>> from workbench.optimizers import gradient_descent
    >>> filter_ratio(gradient_descent(0.5), 3.0)
    0.75
    """
    known = rule.filter()
    return known.step_size * known.polynomial(eigenvalues) / known.constant


def update_radius(rule: Rule, eigenvalue: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Spectral radius of the update's Jacobian in an eigendirection of the Hessian, at a critical point.

    >>> import workbench as wb
    >>> float(wb.optimizers.update_radius(wb.optimizers.gradient_descent(0.5), 3.0))  # |1 - step_size lambda|
    0.5
    """
    known = _numbers(rule)
    if not isinstance(rule, Descent):
        raise ValueError(f"{rule.name} has no momentum scheme whose update has a known radius; use update_jacobian")
    return rule.radius(known.step_size * known.polynomial(np.asarray(eigenvalue, dtype=float)))  # type: ignore[arg-type]


def admissible_set(rule: Rule) -> list[Interval]:
    """The eigenvalues lambda with 0 <= p(lambda) <= c/step_size, as disjoint closed intervals in increasing order.

    A single point appears as an interval of length zero (-1/rho for Two-step USAM).

    >>> from workbench.optimizers import gradient_descent, usam
    >>> admissible_set(gradient_descent(0.5))
    [(0.0, 4.0)]
    >>> admissible_set(usam(0.5, 0.5))
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    return _intervals(_numbers(rule))


def two_cycle(rule: Rule, eigenvalue: float) -> TwoCycle:
    """The 2-cycle +-X e_i in which a normalised rule can end on a quadratic, H e_i = eigenvalue e_i (> 0), and how deviations
    from it grow: what such rules have instead of an admissible set.

    Raises ValueError where the rule has none, or none in closed form.

    >>> from workbench.optimizers import sam
    >>> two_cycle(sam(0.5, rho=0.1), 2.0).amplitude
    0.1
    """
    return rule.two_cycle(eigenvalue)


def cycle_set(rule: Rule, eigenvalue: float) -> list[Interval]:
    """The eigenvalues along whose eigenvectors the 2-cycle of `two_cycle(rule, eigenvalue)` does not repel, as intervals.

    SAM's is [0, eigenvalue] (the cycle attracts along the top eigenvector alone), and the negative eigenvalues of modulus
    a/(2 - a) to 2/(2 - a) times eigenvalue, a = step_size eigenvalue: strict saddles that it cycles around for ever.
    Raises ValueError where the deviations obey no filter.

    >>> from workbench.optimizers import sam
    >>> [(round(low, 12), round(high, 12)) for low, high in cycle_set(sam(0.5, rho=0.1), 2.0)]
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    known = two_cycle(rule, eigenvalue).across
    if known is None:
        raise ValueError(f"deviations from the 2-cycle of {rule.name} obey no filter; ask its multiplier(eigenvalue)")
    return _intervals(known)


def _intervals(known: Filter) -> list[Interval]:
    above = [float(c) for c in known.coefficients]
    below = [float(c) for c in known.denominator]
    bound = float(known.bound)
    at_bound = [a - bound * b for a, b in itertools.zip_longest(above, below, fillvalue=0.0)]

    def passes(x: float) -> bool:
        scale = _value(below, x)
        return scale > 0 and 0 <= _value(above, x) <= bound * scale

    poles = set(_roots(below))
    edges = sorted({*_roots(above), *_roots(at_bound), *poles})
    intervals: list[Interval] = []
    for low, high in itertools.pairwise(edges):
        if passes(low / 2 + high / 2):
            low = intervals.pop()[0] if intervals and intervals[-1][1] == low else low
            intervals.append((low, high))
    alone = [edge for edge in edges if edge not in poles and _value(below, edge) > 0]
    inside = [edge for edge in alone if not any(low <= edge <= high for low, high in intervals)]
    return sorted([*intervals, *((edge, edge) for edge in inside)])


def max_sharpness(rule: Rule) -> float:
    """The largest admissible eigenvalue: the upper end of `admissible_set`.

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.usam(0.5, rho=0.5)), 4)
    2.0
    """
    return admissible_set(rule)[-1][1]


def _numbers(rule: Rule) -> Filter:
    known = rule.filter()
    for name, value in (
        ("step_size", known.step_size),
        ("beta", known.constant),
        *(("rho", c) for c in known.coefficients),
    ):
        if isinstance(value, Tensor):
            raise ValueError(
                f"{name} differs from run to run; ask for the pass band outside the sweep, one rule at a time"
            )
    return known


def _value(coefficients: Sequence[float], x: float) -> float:
    """The polynomial (coefficients lowest first); exactly 0 where rounding alone keeps it from 0."""
    value = size = 0.0
    for coefficient in reversed(coefficients):
        value, size = value * x + coefficient, size * abs(x) + abs(coefficient)
    return 0.0 if abs(value) <= 4 * np.finfo(float).eps * size < math.inf else value


def _roots(coefficients: Sequence[float]) -> list[float]:
    """All real roots, to rounding, each once: between two turning points there is at most one."""
    while coefficients and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    if len(coefficients) < 2:
        return []
    if coefficients[0] == 0:
        return sorted({0.0, *_roots(coefficients[1:])})
    if len(coefficients) == 2:
        return [-coefficients[0] / coefficients[1]]
    largest = float(np.finfo(float).max)
    turning = _roots([k * c for k, c in enumerate(coefficients)][1:])
    found = [x for x in turning if _value(coefficients, x) == 0]
    for low, high in zip([-largest, *turning], [*turning, largest], strict=True):
        ends = _value(coefficients, low), _value(coefficients, high)
        if math.copysign(1, ends[0]) != math.copysign(1, ends[1]) and 0 not in ends:
            found.append(_crossing(coefficients, low, high))
    return sorted(found)


def _crossing(coefficients: Sequence[float], low: float, high: float) -> float:
    """The change of sign between low and high: bisection over the floating point numbers themselves, at any scale."""
    first, last = _place(low), _place(high)
    rising = _plain(coefficients, low) < 0
    while last - first > 1:
        middle = (first + last) // 2
        value = _plain(coefficients, _number(middle))
        if value == 0:
            return _number(middle)
        first, last = (middle, last) if (value < 0) == rising else (first, middle)
    return _number(last)


def _plain(coefficients: Sequence[float], x: float) -> float:
    value = 0.0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


def _place(x: float) -> int:
    """Where x stands in the order of all floating point numbers."""
    bits = struct.unpack("<q", struct.pack("<d", x))[0]
    return bits if bits >= 0 else -(bits & (2**63 - 1))


def _number(place: int) -> float:
    return math.copysign(struct.unpack("<d", struct.pack("<q", abs(place)))[0], place)
