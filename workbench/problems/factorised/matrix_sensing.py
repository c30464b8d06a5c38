"""Recovering a low-rank matrix from linear measurements with a square factor: many minima, few of them right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import draws, memory
from workbench.checks import require_count, require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class MatrixSensing(Problem[Tensor]):
    """L(U) = mean_i (<A_i, U U^T> - b_i)^2 with symmetric A_i; the parameters are U, d x d.

    `matrix_sensing` draws A_i and a truth X* with b_i = <A_i, X*>, `measured_matrix` takes yours.

    `measurements` holds the upper triangles of the A_i as rows of length d(d+1)/2, which halves the memory that every step
    reads. Starts are init sqrt(d) G/|G| with a standard normal G.
    """

    measurements: Float[Tensor, "sample entry"]
    targets: Float[Tensor, " sample"]
    truth: Float[Tensor, "row column"] | None
    """X*, None where it is not known."""
    entry_of: Int[Tensor, "row column"]
    """Where the upper triangle keeps the entry (row, column)."""
    cell_of: Int[Tensor, " entry"]
    """Where a matrix, read row by row, has an entry of the upper triangle."""
    times: Float[Tensor, " entry"]
    """How often an entry occurs in the matrix: once on the diagonal, else twice."""
    init: float | Tensor = 0.5
    minimum = 0.0

    @property
    def data(self) -> Batch:
        return self.measurements, self.targets

    def initial(self, seed: Seed) -> Float[Tensor, "row column"]:
        d = self.entry_of.shape[0]
        direction = draws.normal(seed, (d, d), stream="initial", dtype=self.targets.dtype)
        return self.init * d**0.5 * direction / (direction * direction).sum().sqrt()

    def residual(self, parameters: Float[Tensor, "row column"], batch: Batch) -> Float[Tensor, " sample"]:
        """<A_i, U U^T> - b_i."""
        product = (parameters @ parameters.mT).reshape(-1)
        return batch[0] @ (self.times * torch.index_select(product, 0, self.cell_of)) - batch[1]

    def sample_loss(self, parameters: Float[Tensor, "row column"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))

    def batch_loss(self, parameters: Float[Tensor, "row column"], batch: Batch) -> Float[Tensor, ""]:
        residual = self.residual(parameters, batch)
        return (residual * residual).mean()

    def gradient(
        self, parameters: Float[Tensor, "row column"], batch: Batch | None = None
    ) -> Float[Tensor, "row column"]:
        """(4/m) sum_i (<A_i, U U^T> - b_i) A_i U."""
        batch = self.data if batch is None else batch
        combined = batch[0].mT @ self.residual(parameters, batch)
        whole = torch.index_select(combined, 0, self.entry_of.reshape(-1)).reshape(parameters.shape)
        return (4 / batch[1].shape[0]) * (whole @ parameters)

    def test_error(self, parameters: Float[Tensor, "row column"]) -> Float[Tensor, ""]:
        """|U U^T - X*|^2 (Frobenius)."""
        if self.truth is None:
            raise ValueError("test_error needs the true matrix: give truth= to measured_matrix")
        difference = parameters @ parameters.mT - self.truth
        return (difference * difference).sum()

    @property
    def measures(self) -> Mapping[str, Measure]:
        error = {"test_error": Measure(self.test_error, "test error $|UU^T - X^*|_F^2$")}
        return {**super().measures, **(error if self.truth is not None else {})}


def matrix_sensing(seed: Seed, d: int = 20, r: int = 1, m: int = 100, init: float = 0.5) -> MatrixSensing:
    """X* = V V^T/|V V^T| with V a standard normal d x r matrix, and m measurements A = (G + G^T)/2, G standard normal.

    init: size of the start U_0, in Frobenius norm over sqrt(d). float64.
    Raises ValueError for sizes out of range (1 <= r <= d) and where the m d^2 numbers exceed the memory budget.
    """
    require_count("d", d, low=2)
    require_count("r", r, high=d)
    require_count("m", m)
    require_positive("init", init)
    memory.require(2 * 8.0 * m * d * d, f"{m} measurement matrices of {d} x {d}", "choose smaller m or d")
    factor = draws.normal(seed, (d, r), stream="truth")
    truth = factor @ factor.mT
    truth = truth / (truth * truth).sum().sqrt()
    return _assembled(draws.normal(seed, (m, d, d), stream="measurements"), None, truth, init)


def measured_matrix(
    matrices: Tensor,
    targets: Tensor,
    *,
    truth: Tensor | None = None,
    init: float = 0.5,
) -> MatrixSensing:
    """Matrix sensing with measurements of your own: <A_i, U U^T> should become b_i.

    matrices, targets: the A_i [sample, d, d], of which only the symmetric part is seen, and the b_i [sample].
    truth: X* [d, d], where it is known, for `test_error`.
    init: size of the start U_0, in Frobenius norm over sqrt(d).
    Raises ValueError for shapes and types that do not fit.
    """
    require_positive("init", init)
    shapes = tuple(matrices.shape), tuple(targets.shape)
    if len(shapes[0]) != 3 or 0 in shapes[0] or shapes[0][1] != shapes[0][2] or shapes[1] != shapes[0][:1]:
        raise ValueError(f"matrices must be [sample, d, d] and targets [sample], got {shapes[0]} and {shapes[1]}")
    if not matrices.is_floating_point() or matrices.dtype != targets.dtype:
        raise ValueError(
            f"matrices and targets must be of one floating-point type, got {matrices.dtype} and {targets.dtype}"
        )
    if truth is not None and truth.shape != matrices.shape[1:]:
        raise ValueError(f"truth must be {tuple(matrices.shape[1:])} as the matrices, got {tuple(truth.shape)}")
    return _assembled(matrices, targets, truth, init)


def _assembled(
    matrices: Float[Tensor, "sample row column"],
    targets: Float[Tensor, " sample"] | None,
    truth: Float[Tensor, "row column"] | None,
    init: float,
) -> MatrixSensing:
    m, d, _ = matrices.shape
    rows, columns = torch.triu_indices(d, d)
    entry_of = torch.zeros((d, d), dtype=torch.int64)
    entry_of[rows, columns] = entry_of[columns, rows] = torch.arange(len(rows))
    times = 1.0 + (rows < columns).to(matrices.dtype)
    measurements = (0.5 * (matrices + matrices.mT)).reshape(m, d * d)[:, rows * d + columns]
    if targets is None:
        assert truth is not None
        targets = measurements @ (times * truth.reshape(-1)[rows * d + columns])
    return MatrixSensing(measurements, targets, truth, entry_of, rows * d + columns, times, init)
