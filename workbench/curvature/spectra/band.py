"""A simultaneous band around an estimated density of eigenvalues: plug-in variance and a simulated maximum."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from workbench import draws

_SETS = 200
"""Simulated sets of probes: the 95 % quantile of their maxima is that of the 190th."""
_POINTS = 512
"""Points at which the maxima are looked for, the grid's own where it has no more."""
_FLOOR = 0.02
"""Of the height of one eigenvalue: below it nothing is distinguished."""
_LEAST = 0.1
"""Of an eigenvalue: what stands alone and weighs more is one eigenvalue at least, what weighs less a quadrature's residue."""


def deviation(
    mean: Float[np.ndarray, "*set point"], square: Float[np.ndarray, "*set point"], size: float, probes: int
) -> Float[np.ndarray, "*set point"]:
    """Standard deviation of the density over sets of probes, from the means over all eigenvalues of bell and squared bell.

    The squared entries of a Gaussian direction, over their sum, are Dirichlet(1/2, ..., 1/2) distributed: the variance of the
    mean that they weigh is 2 / (size + 2) times the variance over the eigenvalues.
    """
    return np.sqrt(np.maximum(2 / (size + 2) * (square - mean**2), 0) / probes)


def simultaneous(
    grid: Float[np.ndarray, " point"],
    deviations: Float[np.ndarray, " point"],
    nodes: Float[np.ndarray, " node"],
    weights: Float[np.ndarray, " node"],
    width: float,
    size: int,
    probes: int,
    seed: int,
) -> Float[np.ndarray, " point"]:
    """Half width of a band that holds the smoothed density of all `size` eigenvalues at all points at once, in 95 % of cases.

    The probes are simulated on a spectrum like the estimated one, and each simulated density is compared with that spectrum's in
    units of its own `deviation`, as the estimate is.

    Args:
        nodes, weights: of the mean of the probes' quadrature rules, whose error is not part of the band.
        width: of the Gaussian smoothing.
    """
    floor = _FLOOR / (size * width * (2 * np.pi) ** 0.5)
    values, counts = _like(nodes, weights, width, size)
    points = grid[:: -(-len(grid) // _POINTS)]
    bells = np.exp(-0.5 * ((points - values[:, None]) / width) ** 2) / (width * (2 * np.pi) ** 0.5)
    squares = bells**2
    total = counts.sum()
    truth = counts @ bells / total
    generator = draws.generator(seed, "density band")
    shares = np.stack([_shares(generator, counts, probes) for _ in range(_SETS)])
    found = shares @ bells
    units = deviation(found, shares @ squares, total, probes) + floor
    largest = ((np.abs(found - truth) - floor) / units).max(axis=1)
    return max(0.0, float(np.quantile(largest, 0.95))) * (deviations + floor) + floor


def _shares(generator: np.random.Generator, counts: np.ndarray, probes: int) -> np.ndarray:
    """Mean weights of the probes on eigenvalues with these multiplicities."""
    gamma = generator.standard_gamma(counts / 2, size=(probes, len(counts)))
    return (gamma / gamma.sum(axis=1, keepdims=True)).mean(axis=0)


def _like(nodes: np.ndarray, weights: np.ndarray, width: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, an eighth of the width apart, and how many there are of each: a spectrum whose density is the estimated one.

    An estimate of an outlier's weight may be far below the one eigenvalue that it is; it is counted as one.
    """
    bins, of = np.unique(np.round(nodes / (width / 8)), return_inverse=True)
    counts = np.bincount(of, weights) * (size / weights.sum())
    kept = counts > 1e-6
    values, counts = bins[kept] * (width / 8), counts[kept]
    sums = np.concatenate([[0.0], np.cumsum(counts)])
    near = (
        sums[np.searchsorted(values, values + 2 * width)] - sums[np.searchsorted(values, values - 2 * width, "right")]
    )
    return values, np.where(near > _LEAST, counts * np.maximum(1.0, 1.0 / np.maximum(near, _LEAST)), counts)
