"""Some eigenpairs of a Hessian: their order, their errors, and the intervals that hold the eigenvalues."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Which = Literal["largest", "smallest", "magnitude"]


@dataclass(frozen=True)
class EigenPairs:
    """k eigenpairs in the order asked for, and how wrong they can be.

    Attributes:
        values: [eigenvalue]: largest first, smallest first, or largest magnitude first.
        vectors: [eigenvalue, parameter], orthonormal rows; entries follow `parameters.ravel`.
        residuals: [eigenvalue] norms |H v - value v|, the measured rounding error of the products included.
        intervals: [eigenvalue, 2]: the k intervals contain k different eigenvalues (counted with multiplicity), one
            each; groups of overlapping intervals are bounded together (Kahan; Parlett 1998, theorem 11.5.1).
        miss_probability: bound on the chance, over the random starts, that an eigenvalue beyond the last value (by more
            than its tolerance) is not among them; 0 where the whole spectrum was computed.
        products: Hessian-vector products used.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> pairs = wb.curvature.top_eigenpairs(bowl.loss, x, k=1)
    >>> pairs.values, pairs.vectors.abs()
    (tensor([4.], dtype=torch.float64), tensor([[0., 1.]], dtype=torch.float64))
    """

    values: Float[Tensor, " eigenvalue"]
    vectors: Float[Tensor, "eigenvalue parameter"]
    residuals: Float[Tensor, " eigenvalue"]
    intervals: Float[Tensor, "eigenvalue 2"]
    miss_probability: float
    products: int

    def __repr__(self) -> str:
        rows = [f"EigenPairs: {self.products} products, miss probability <= {self.miss_probability:.1e}"]
        for value, residual, (low, high) in zip(self.values, self.residuals, self.intervals, strict=True):
            rows.append(f"  {value:.8g}  in [{low:.8g}, {high:.8g}]  residual {residual:.1e}")
        return "\n".join(rows)


class ConvergenceError(RuntimeError):
    """The tolerance was not reached; `reached` holds the EigenPairs as far as they came, with valid intervals.

    >>> import torch
    >>> import workbench as wb
    >>> valley, x = wb.problems.quadratic(torch.arange(1.0, 1001.0)), torch.ones(1000).double()
    >>> try:
    ...     wb.curvature.top_eigenpairs(valley.loss, x, k=1, max_products=10)
    ... except wb.curvature.ConvergenceError as error:
    ...     bool(error.reached.values[0] < 1000)  # a Ritz value is a lower bound
    True
    """

    def __init__(self, message: str, reached: EigenPairs) -> None:
        super().__init__(message)
        self.reached = reached


def wanted(values: np.ndarray, which: Which) -> np.ndarray:
    """Indices of `values`, most wanted first."""
    key = {"largest": -values, "smallest": values, "magnitude": -np.abs(values)}[which]
    return np.argsort(key, kind="stable")


def intervals(values: Tensor, residuals: Tensor) -> Tensor:
    """One interval per eigenvalue; overlapping ones are widened together to the norm of their joint residual."""
    order = torch.argsort(values).tolist()
    groups = [[index] for index in order]
    merged = True
    while merged:
        merged = False
        for left, right in itertools.pairwise(groups):
            reach = [float(residuals[group].norm()) for group in (left, right)]
            if float(values[left].amax()) + reach[0] >= float(values[right].amin()) - reach[1]:
                groups.remove(right)
                left.extend(right)
                merged = True
                break
    half = torch.empty_like(residuals)
    for group in groups:
        half[group] = residuals[group].norm()
    return torch.stack([values - half, values + half], dim=1)
