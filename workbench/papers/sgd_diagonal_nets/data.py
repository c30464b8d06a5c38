"""The data of arXiv:2106.09524's experiments: noiseless sparse regression with Gaussian inputs, fewer samples than features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.problems.base import Batch
from workbench.problems.factorised.diagonal_network import SquaresNetwork, diagonal_network


class RowNetwork(SquaresNetwork):
    """A `SquaresNetwork` whose sums over all samples are products of a row with a matrix.

    In a sweep they are batches of products, and those of a matrix with a column take five times as long.
    """

    def residuals(self, parameters: Float[Tensor, "2 feature"], batch: Batch | None = None) -> Float[Tensor, " sample"]:
        if batch is not None:
            return super().residuals(parameters, batch)
        return self.predictor(parameters) @ self.inputs.mT.contiguous() - self.targets

    def residual_correlation(
        self, parameters: Float[Tensor, "2 feature"], batch: Batch | None = None
    ) -> Float[Tensor, " feature"]:
        if batch is not None:
            return super().residual_correlation(parameters, batch)
        return self.residuals(parameters) / self.n_samples @ self.inputs


@dataclass(frozen=True, eq=False)
class SparseData:
    """y = X beta*, the first k entries of beta* standard normal and the others 0."""

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    truth: Float[Tensor, " feature"]

    def network(self, alpha: float | Tensor) -> SquaresNetwork:
        """The network beta = w+^2 - w-^2 of loss L = (1/4n) sum r^2, started at w+ = w- = alpha."""
        checked = diagonal_network((self.inputs, self.targets), alpha, "squares")
        return RowNetwork(checked.inputs, checked.targets, checked.alpha)

    def test_loss(self, beta: Float[Tensor, " feature"]) -> Float[Tensor, ""]:
        """|beta - beta*|^2: the paper's test loss."""
        return ((beta - self.truth) ** 2).sum()


@draws.seeded
def _rows(seed: int, n: int, d: int, k: int) -> np.ndarray:
    """Inputs and truth, stacked: [n + 1, d]."""
    # NumPy's own stream, so that anybody makes the same data without the library.
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((n, d))
    truth = np.zeros(d)
    truth[:k] = generator.standard_normal(k)
    return np.concatenate([inputs, truth[None]])


def sparse_data(seed: Seed = 0, n: int = 40, d: int = 100, k: int = 5) -> SparseData:
    """One data set; the seed may be swept. Raises ValueError unless 1 <= k <= d and 2 <= n < d."""
    require_count("d", d, 3)
    require_count("k", k, 1, d)
    require_count(f"n (below d = {d}: over-parametrised)", n, 2, d - 1)
    rows = _rows(seed, n, d, k)
    inputs, truth = rows[:n], rows[n]
    return SparseData(inputs, inputs @ truth, truth)


def minimum_l1(inputs: Float[Tensor, "sample feature"], targets: Float[Tensor, " sample"]) -> Float[Tensor, " feature"]:
    """beta_l1: the interpolator of smallest l1 norm, by linear programming in (beta+, beta-) >= 0.

    Raises ValueError when X beta = y has no solution.
    """
    columns = inputs.shape[1]
    rows = inputs.double().numpy()
    found = linprog(np.ones(2 * columns), A_eq=np.hstack([rows, -rows]), b_eq=targets.double().numpy(), method="highs")
    if found.x is None:
        raise ValueError(f"inputs and targets have no interpolator: {found.message}")
    return torch.from_numpy(found.x[:columns] - found.x[columns:])
