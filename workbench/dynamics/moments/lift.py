"""Linear maps of second moments: M -> A M B^T + B M A^T on symmetric matrices, as matrices on their upper triangle."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from workbench import memory

Matrix = Float[np.ndarray, "row column"]
Moments = Float[np.ndarray, "... entry"]
"""The k(k+1)/2 entries (i <= j, row by row) of a symmetric k x k matrix."""


def packed(symmetric: Float[np.ndarray, "... k k"]) -> Moments:
    """The upper triangle, row by row."""
    rows, columns = np.triu_indices(symmetric.shape[-1])
    return symmetric[..., rows, columns]


def unpacked(entries: Moments) -> Float[np.ndarray, "... k k"]:
    """The symmetric matrix of an upper triangle."""
    size = int((np.sqrt(8 * entries.shape[-1] + 1) - 1) / 2)
    rows, columns = np.triu_indices(size)
    matrix = np.empty((*entries.shape[:-1], size, size))
    matrix[..., rows, columns] = entries
    matrix[..., columns, rows] = entries
    return matrix


def lift(left: Float[np.ndarray, "... k k"], right: Float[np.ndarray, "... k k"] | None = None) -> np.ndarray:
    """The matrix of M -> A M A^T (or, with `right`, of M -> A M B^T + B M A^T) on packed symmetric M.

    >>> lift(np.array([[2.0]]))
    array([[4.]])
    """
    other = left if right is None else right
    size = left.shape[-1]
    rows, columns = np.triu_indices(size)
    # (A M B^T)_ij = sum_kl A_ik B_jl M_kl; entries k < l stand for both M_kl and M_lk.
    first, second = left[..., rows[:, None], rows], other[..., columns[:, None], columns]
    swapped = left[..., rows[:, None], columns] * other[..., columns[:, None], rows] * _off(size)
    matrix = first * second + swapped
    if right is None:
        return matrix
    first, second = right[..., rows[:, None], rows], left[..., columns[:, None], columns]
    return matrix + first * second + right[..., rows[:, None], columns] * left[..., columns[:, None], rows] * _off(size)


def expected_lift(maps: Float[np.ndarray, "outcome k k"], probabilities: Float[np.ndarray, " outcome"]) -> Matrix:
    """E[A (x) A] on packed second moments: M+ = E A M A^T for A drawn from finitely many maps."""
    size = maps.shape[-1]
    entries = size * (size + 1) // 2
    memory.require(
        8.0 * (size**4 + 3 * entries**2), f"second moments of a state of {size} numbers as a matrix of {entries:,} x {entries:,}",
        "choose a smaller state",
    )  # fmt: skip
    flat = maps.reshape(len(maps), size * size)
    # All products A_ik A_jl at once, then the entries that a symmetric M needs.
    products = ((flat * probabilities[:, None]).T @ flat).reshape(size, size, size, size)
    rows, columns = np.triu_indices(size)
    i, j, k, l = rows[:, None], columns[:, None], rows, columns  # noqa: E741
    return products[i, k, j, l] + products[i, l, j, k] * _off(size)


def second_moment_generator(flow: Matrix, jumps: Sequence[Matrix], rates: Sequence[float]) -> Matrix:
    """Generator G of packed second moments, dM/dt = G M, of ds = flow s dt that jumps to J_e s at rate_e.

    dM/dt = F M + M F^T + sum_e rate_e (J_e M J_e^T - M).

    >>> second_moment_generator(np.array([[-1.0]]), [np.array([[0.5]])], [2.0])
    array([[-3.5]])
    """
    maps = np.asarray(jumps, dtype=np.float64)
    weights = np.asarray(rates, dtype=np.float64)
    if flow.ndim != 2 or flow.shape[0] != flow.shape[1] or maps.shape[1:] != flow.shape:
        raise ValueError(f"flow and jumps must be square of one size, got {flow.shape} and {maps.shape[1:]}")
    if weights.shape != maps.shape[:1] or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"rates must be {len(maps)} finite numbers >= 0, one per jump, got {rates!r}")
    generator = lift(flow, np.eye(len(flow))) + expected_lift(maps, weights)
    np.fill_diagonal(generator, generator.diagonal() - weights.sum())
    return generator


def exact_rate(generator: Matrix) -> float:
    """The rate at which second moments decay in the long run: minus the largest real part of an eigenvalue."""
    return -float(np.linalg.eigvals(generator).real.max())


def spectral_radius(operator: Matrix) -> float:
    """Largest absolute eigenvalue."""
    return float(np.abs(np.linalg.eigvals(operator)).max())


@functools.cache
def _off(size: int) -> Float[np.ndarray, " entry"]:
    rows, columns = np.triu_indices(size)
    return (rows != columns).astype(np.float64)
