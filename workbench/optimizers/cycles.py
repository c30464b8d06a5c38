"""The 2-cycle in which normalised rules end on a quadratic: x = +-X e_i, where a smooth rule would come to rest at 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from workbench.checks import require_positive
from workbench.parameters import Scalar


class Axis(NamedTuple):
    """g~ on a quadratic at X e_i while x alternates between +-X e_i, H e_i = eigenvalue e_i.

    `amplitude` solves g~(X) = bound X; `slope` is dg~/dX there; `across` are the coefficients, lowest first, of the polynomial
    p with dg~_j/dx_j = p(lambda_j) along another eigenvector, None where there is none.
    """

    amplitude: float
    slope: float
    across: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class TwoCycle:
    """The 2-cycle +-amplitude e_i of a rule on a quadratic, and the factors by which a step multiplies small deviations from it,
    in the frame that flips with the cycle.

    `radial` is the factor along e_i (for rules with a velocity the modulus of the larger one). `across` is the filter of the
    deviations along other eigenvectors, where they obey one: see `workbench.optimizers.cycle_set`.

    >>> import workbench as wb
    >>> cycle = wb.optimizers.two_cycle(wb.optimizers.sam(0.5, rho=0.1), 2.0)
    >>> cycle.radial, cycle.attracts([1.0]), cycle.attracts([3.0])
    (0.0, True, False)
    """

    amplitude: float
    radial: float
    _multiplier: Callable[[float], float] = field(repr=False)
    across: Any = field(default=None, repr=False)

    def multiplier(self, eigenvalue: float) -> float:
        """The factor along an eigenvector of that eigenvalue (rules with more than x to remember: the largest modulus).

        Raises ValueError where it has no closed form.
        """
        return self._multiplier(eigenvalue)

    def attracts(self, eigenvalues: Sequence[float], tolerance: float = 1e-12) -> bool:
        """Whether deviations along e_i and along eigenvectors of these other eigenvalues do not grow."""
        factors = [self.radial, *(self.multiplier(each) for each in eigenvalues)]
        return all(abs(factor) <= 1 + tolerance for factor in factors)


def alternating(name: str, bound: float, slope: float, push: float, across: tuple[float, ...] | None = None) -> Axis:
    """The axis of a rule with g~(X) = slope X + push. Raises ValueError where bound X = slope X + push has no X > 0."""
    if not push > 0:
        raise ValueError(f"{name} has no 2-cycle: nothing pushes it off the minimum; see admissible_set")
    return Axis(reach(name, bound, slope, push), slope, across)


def reach(name: str, bound: float, slope: float, push: float) -> float:
    """X = push/(bound - slope). Raises ValueError where slope >= bound: deviations grow without end."""
    if not slope < bound:
        raise ValueError(
            f"{name} has no 2-cycle: step_size times the curvature along the axis must be below the momentum scheme's constant, "
            f"got {slope:g} against {bound:g}; a smaller step_size has one"
        )
    return push / (bound - slope)


def number(name: str, value: object) -> float:
    """A hyper-parameter as a number. Raises ValueError for schedules and values that differ from run to run."""
    if not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be one constant number for a 2-cycle, got {value!r}; ask outside the sweep")
    return float(value)


def positive(eigenvalue: Scalar) -> float:
    """The cycle's eigenvalue. Raises ValueError unless it is a number > 0."""
    require_positive("eigenvalue", eigenvalue)
    return float(eigenvalue)


def spectral_radius(step: Sequence[Sequence[float]]) -> float:
    """The largest modulus of a matrix's eigenvalues."""
    return float(np.abs(np.linalg.eigvals(np.array(step))).max())
