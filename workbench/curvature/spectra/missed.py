"""The chance that a random start hid an eigenvalue from the Lanczos process (Golub and Meurant 2010, chapter 2)."""

from __future__ import annotations

import numpy as np

from .eigenpairs import Which


def miss_probability(chain: np.ndarray, coupling: float, size: int, level: float, which: Which) -> float | None:
    """Chance that a uniform start in `size` dimensions hides an eigenvalue beyond `level` so well from this Lanczos chain.

    `coupling` is the one of the chain's last vector to what comes next. None if an eigenvalue beyond it is in plain view.
    """
    off = np.append(np.diag(chain, 1), coupling)
    ritz = np.linalg.eigvalsh(chain)
    chance = 0.0
    for end in {"largest": (1,), "smallest": (-1,), "magnitude": (1, -1)}[which]:
        if (ritz * end).max() > level:
            return None
        weight = 1.0 / christoffel_sum(end * level, np.diag(chain), off)
        chance += float(np.sqrt(2 * size * weight / np.pi))
    return chance


def christoffel_sum(x: float, diagonal: np.ndarray, off: np.ndarray) -> float:
    """Sum of the squared orthonormal Lanczos polynomials at x; infinite where the start's Krylov space is exhausted."""
    total, before, current = 1.0, 0.0, 1.0
    for index, centre in enumerate(diagonal):
        step = (x - centre) * current - (off[index - 1] * before if index else 0.0)
        if off[index] == 0:
            return np.inf
        before, current = current, step / off[index]
        total += current**2
        if total > 1e30:
            break
    return total
