"""Noiseless linear regression with a sparse truth and fewer samples than features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.draws import Seed


@dataclass(frozen=True, eq=False)
class SparseRegression:
    """y = X theta for Gaussian inputs and a theta >= 0 with k non-zero entries and unit norm.

    The test set is kept as d rows that give every linear predictor the same mean squared error as the original n_test
    rows (the triangular factor of its QR decomposition, rescaled): a thousand runs then need not hold a thousand test sets.
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    test_inputs: Float[Tensor, "row feature"]
    test_targets: Float[Tensor, " row"]
    truth: Float[Tensor, " feature"]


@draws.seeded
def _rows(seed: int, n: int, d: int, k: int, n_test: int) -> np.ndarray:
    """Training inputs, reduced test inputs and truth, stacked: [n + d + 1, d]."""
    # RandomState takes larger seeds as words only.
    generator = np.random.RandomState(seed if seed < 2**32 else [seed % 2**32, seed >> 32])
    inputs = generator.multivariate_normal(np.zeros(d), np.eye(d), n)
    test_inputs = generator.multivariate_normal(np.zeros(d), np.eye(d), n_test)
    truth = generator.randn(d)
    truth[k:] = 0
    truth = np.abs(truth) / np.linalg.norm(truth)
    reduced = np.linalg.qr(test_inputs, mode="r") * np.sqrt(d / n_test)
    return np.concatenate([inputs, reduced, truth[None]])


def sparse_regression(seed: Seed = 0, n: int = 20, d: int = 30, k: int = 3, n_test: int = 1000) -> SparseRegression:
    """The data of arXiv:2206.06232's diagonal-network experiments, equal to the public notebook's for every seed.

    n samples in d dimensions (n < d: the interpolating predictors form a subspace), k features in the truth.
    Raises ValueError when not 1 <= k <= d, 1 <= n < d and n_test >= d.
    """
    require_count("d", d, 2)
    require_count("k", k, 1, d)
    require_count("n_test", n_test, d)
    require_count(f"n (below d = {d}: over-parametrised)", n, 1, d - 1)
    rows = _rows(seed, n, d, k, n_test)
    inputs, test_inputs, truth = rows[:n], rows[n:-1], rows[-1]
    return SparseRegression(inputs, inputs @ truth, test_inputs, test_inputs @ truth, truth)
