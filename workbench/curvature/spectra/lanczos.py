"""Some eigenpairs of a Hessian by thick-restart Lanczos, with their errors and the chance that one was missed."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, Parameters, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows, require_symmetric, symmetrised
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm

from .eigenpairs import ConvergenceError, EigenPairs, Which, intervals, wanted
from .missed import miss_probability
from .subspace import Subspace

_DENSE = 96
"""Up to this many parameters (or 4 k) the whole spectrum costs no more than Lanczos."""
_MISS = 1e-3
"""The search for missed eigenvalues goes on until the chance of having missed one is below this ..."""
_ROUNDS = 3
"""... or this many random starts have failed to bring it there."""


def top_eigenpairs(
    loss: Loss,
    parameters: Parameters,
    k: int = 10,
    *,
    which: Which = "largest",
    rtol: float = 1e-6,
    max_products: int | None = None,
    seed: int = 0,
) -> EigenPairs:
    """The k largest, smallest or largest-in-magnitude Hessian eigenvalues of `loss`, with eigenvectors.

    Each residual is brought below `rtol * |value|`, or to the rounding level of the products where that is larger.
    Lanczos from one start finds only one of several equal eigenvalues; so after convergence fresh random starts
    orthogonal to what was found look for more, until the chance of having missed one is below 0.001 (a warning gives the
    chance where that is not reached). That bound is computed, not assumed: an eigenvalue above all Ritz values of a start
    has weight at most `1 / sum_i p_i^2` in it (p_i its Lanczos polynomials, Christoffel's bound), and a uniform direction
    rarely weighs so little.
    One vector at a time: on a CPU products in blocks of 2 to 10 are no cheaper each, and the ten largest eigenvalues of
    an MLP with 4,810 parameters took 34 to 100 of them instead of 24.
    Not for use inside `torch.func.vmap`: see `sharpness`.

    Args:
        loss: `loss(parameters) -> scalar`, or a `MinibatchLoss`.
        k: how many, 1 <= k <= P.
        max_products: give up after this many Hessian-vector products (default 1,000 + 20 k).
        seed: of the random starts.

    Raises:
        ConvergenceError: `max_products` did not suffice; `.reached` has the pairs and their honest residuals.
        ValueError: k out of range, or products that are not finite or not symmetric.
        workbench.memory.OutOfBudget: not even 2 k + 4 vectors fit.

    Source: Wu and Simon 2000 (thick restart); Golub and Meurant 2010, chapter 2 (Christoffel's bound).

    >>> import torch
    >>> import workbench as wb
    >>> valley, x = wb.problems.quadratic([5.0, 4.0, *[1.0] * 198]), torch.ones(200).double()
    >>> pairs = wb.curvature.top_eigenpairs(valley.loss, x, k=2)
    >>> pairs.values.round(decimals=6), pairs.miss_probability < 0.001
    (tensor([5., 4.], dtype=torch.float64), True)
    """
    if which not in ("largest", "smallest", "magnitude"):
        raise ValueError(f"which={which!r}; choose 'largest', 'smallest' or 'magnitude'")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol={rtol}; choose a relative tolerance between 0 and 1, e.g. 1e-6")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= size:
        raise ValueError(f"k={k!r}; choose an int between 1 and the number of parameters, {size}")
    vectors = min(size, 2 * k + 8) if size > max(_DENSE, 4 * k) else 2 * size
    memory.require(vectors * size * dtype.itemsize, f"Lanczos vectors for k={k} of {size:,} parameters", "Lower k.")
    operator = hvp_operator(loss, parameters)
    if not torch.isfinite(operator.gradient).all():
        raise ValueError("the gradient at these parameters is not finite; the run has diverged or the loss has a pole")
    if operator.size <= max(_DENSE, 4 * k):
        return _dense(operator, k, which)
    return _Search(operator, k, which, rtol, max_products or 1000 + 20 * k, seed).run()


def _dense(operator: HVPOperator, k: int, which: Which) -> EigenPairs:
    rows = hessian_rows(operator)
    if not torch.isfinite(rows).all():
        raise ValueError("the Hessian at these parameters is not finite; move off the loss's singular point")
    require_symmetric(
        (rows - rows.mT).abs().amax() / rows.abs().amax().clamp(min=torch.finfo(rows.dtype).tiny), rows.dtype
    )
    values, columns = torch.linalg.eigh(symmetrised(rows))
    order = torch.from_numpy(wanted(values.cpu().double().numpy(), which)[:k].copy()).to(values.device)
    values, vectors = values[order], columns.mT[order]
    eps = torch.finfo(rows.dtype).eps
    rounding = norm(rows - rows.mT) + eps * rows.shape[0] * values.abs().amax()
    residuals = torch.hypot(norm(vectors @ rows.mT - values[:, None] * vectors, dim=1), rounding)
    return EigenPairs(values, vectors, residuals, intervals(values, residuals), 0.0, operator.size)


class _Search:
    """One call of `top_eigenpairs` beyond the dense case."""

    def __init__(self, operator: HVPOperator, k: int, which: Which, rtol: float, max_products: int, seed: int) -> None:
        self.k, self.which, self.rtol, self.max_products, self.seed = k, which, rtol, max_products, seed
        self.starts = 0
        row = operator.size * operator.dtype.itemsize
        rows = min(operator.size, max(3 * k + 20, 80), int(memory.budget() // row) - 4)
        self.space = Subspace(operator, rows)

    def run(self) -> EigenPairs:
        space = self.space
        space.add_direction(self._random())
        self._converge()
        miss = 1.0
        for attempt in range(_ROUNDS):
            miss, intruder = self._confirm(loose=attempt == 0)
            while intruder:
                self._converge()
                miss, intruder = self._confirm(loose=attempt == 0)
            if miss <= _MISS or space.products >= self.max_products:
                break
        values, rotation, residuals = self._ritz()
        if (residuals[: self.k] > self._tolerance(values[: self.k])).any():
            self._converge()
            values, rotation, residuals = self._ritz()
        if miss > _MISS:
            warnings.warn(
                f"an eigenvalue beyond the {self.k} found may have been missed: the chance is only known to be below {miss:.2g}, "
                f"not {_MISS:g}, after {space.products} products (eigenvalues crowd around the last one); raise max_products, "
                "or ask for more or fewer eigenvalues",
                stacklevel=3,
            )
        return self._pairs(values[: self.k], rotation[:, : self.k], residuals[: self.k], miss)

    def _random(self) -> Tensor:
        start = draws.normal(self.seed, (self.space.size,), stream="lanczos", counter=self.starts)
        self.starts += 1
        return start.to(self.space.dtype).to(self.space.device)

    def _ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, rotation = np.linalg.eigh(self.space.projected)
        order = wanted(values, self.which)
        return values[order], rotation[:, order], self.space.residual_norms(rotation[:, order])

    def _tolerance(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(self.rtol * np.abs(values), self.space.rounding)

    def _advance(self, most_coupled_to: np.ndarray | None) -> None:
        """One product, from the outstanding direction that matters most (or the newest)."""
        if not self.space.directions:
            self.space.add_direction(self._random())
        self.space.grow(self.space.strongest(most_coupled_to) if most_coupled_to is not None else -1)

    def _converge(self) -> None:
        """Grow and restart until the k wanted pairs meet their tolerances."""
        space, k = self.space, self.k
        while True:
            values, rotation, residuals = self._ritz()
            kept = min(k, len(values))
            lag = residuals[:kept] / np.maximum(self._tolerance(values[:kept]), np.finfo(float).tiny)
            if kept == k and ((lag <= 1).all() or space.count == space.size):
                return
            if space.products >= self.max_products:
                raise ConvergenceError(
                    f"{int((lag <= 1).sum())} of {k} eigenpairs reached rtol={self.rtol:g} within "
                    f"max_products={self.max_products} Hessian-vector products; raise max_products or rtol, or lower "
                    "k. The exception's .reached holds the pairs as they are, with their residuals and intervals.",
                    self._pairs(values[:kept], rotation[:, :kept], residuals[:kept], 1.0),
                )
            if space.count == space.capacity:
                rotation = rotation[:, : k + (space.capacity - k) // 2]
                space.rotate(rotation)
                rotation = np.eye(rotation.shape[1])
            self._advance(rotation[:, int(np.argmax(lag))] if kept else None)

    def _confirm(self, loose: bool) -> tuple[float, bool]:
        """Look from a fresh random start for an eigenvalue beyond the k-th. Returns (miss probability, found one).

        `loose` also sets aside Ritz pairs that have not converged: faster, but blind next to the k-th eigenvalue.
        """
        space, k = self.space, self.k
        values, rotation, residuals = self._ritz()
        if space.count == space.size:
            return 0.0, False
        beyond = abs(values[k - 1]) if self.which == "magnitude" else values[k - 1] * self._sign
        threshold = beyond + self._tolerance(values[k - 1 : k])[0] + np.linalg.norm(residuals[:k]) + 2 * space.rounding
        # Weyl: with p Ritz pairs set aside, no eigenvalue beyond the threshold can hide in their coupling to the rest
        # if the rest stays below threshold - |coupling|. Setting aside more than k lowers the rest; choose the best p.
        room = min(space.capacity - 8, len(values) - 1)
        rest = (np.abs(values) if self.which == "magnitude" else values * self._sign)[k : room + 1]
        coupling = np.sqrt(np.cumsum(residuals**2))[k - 1 : room]
        if not loose:
            coupling = np.where(coupling > 2 * coupling[:1], np.inf, coupling)
        best = int(np.argmax(threshold - coupling - rest)) if len(rest) else 0
        aside = k + best
        level = threshold - np.sqrt((residuals[:aside] ** 2).sum())
        known = self._beyond(values, threshold)
        space.rotate(rotation[:, :aside])
        space.add_direction(self._random())
        steps = min(space.capacity - aside, space.size - aside, max(20, space.products))
        miss = 1.0
        for _ in range(steps):
            if space.products >= self.max_products or not space.directions:
                break
            self._advance(None)
            if self._beyond(self._ritz()[0], threshold) > known:
                return 1.0, True
            chain = space.projected[aside:, aside:]
            chance = miss_probability(chain, space.last_coupling, space.size - aside, level, self.which)
            if chance is None:
                return 1.0, False
            miss = min(1.0, chance)
            if miss <= _MISS or space.last_coupling == 0:
                break
        return miss, False

    def _beyond(self, values: np.ndarray, threshold: float) -> int:
        """How many lie beyond the threshold. Of many equal ones each random start shows one more, before the k-th moves."""
        keys = np.abs(values) if self.which == "magnitude" else values * self._sign
        return int((keys > threshold).sum())

    @property
    def _sign(self) -> float:
        return -1.0 if self.which == "smallest" else 1.0

    def _pairs(self, values: np.ndarray, rotation: np.ndarray, residuals: np.ndarray, miss: float) -> EigenPairs:
        space = self.space
        like = {"dtype": space.dtype, "device": space.device}
        scale = 1.0 if space.scale is None else space.scale
        honest = torch.as_tensor(np.sqrt(residuals**2 + space.rounding**2), **like) * scale
        tensor = torch.as_tensor(values.copy(), **like) * scale
        vectors = space.combine(rotation)
        return EigenPairs(tensor, vectors, honest, intervals(tensor, honest), miss, space.products)
