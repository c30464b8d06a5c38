"""The largest Hessian eigenvalues at every step of training, for a few products each."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench import memory
from workbench.checks import require_count
from workbench.curvature.flat import Loss, flatten, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows, symmetrised
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm
from workbench.curvature.spectra.spectrum import symmetric_eigenvalues
from workbench.draws import Seed
from workbench.parameters import Parameters

from .evaluation import FIRST, MOST, Evaluation, Memory, Plan, Tracked

_EXACT = 8
"""Up to this many parameters the whole matrix costs no more."""


class Tracker:
    """Follows the `k` largest Hessian eigenvalues along training: call it at every step (or every few).

        tracker = wb.curvature.Tracker(seed=0)
        for parameters in run:
            found = tracker(loss, parameters)   # found.values, found.residuals, found.products

    Each evaluation starts from the last vectors, or from where the last four say they are going (at the edge of stability
    they come back every second step), and multiplies on until the estimated error of every value, the smaller of the residual
    and its square over the gap, is below 0.5 %: for one eigenvalue 3 to 4 products instead of the 40 of `sharpness`, and up to
    5 in runs so far beyond the edge that the vectors turn over from step to step.

    That estimate does not see an eigenvalue in a direction orthogonal to all vectors. So the next eigenvalue is followed too,
    which may cross; the change of the Hessian's image of a random probe is watched, and looked along; and a random start
    searches, as `top_eigenpairs` does, at the first evaluation, at every `check_every`-th (a cold check), after a jump, and
    whenever the products spared since the last time pay for it. All random numbers are of the seed and the number of the
    evaluation. What no probe has seen is not in the residual: within it lies *an* eigenvalue.

    Works inside `torch.func.vmap`; there the values do not depend on how many runs go along, but the time does: a chunk
    multiplies until its last run is satisfied.

    >>> import torch, workbench as wb
    >>> def loss(x):
    ...     return 0.5 * (torch.linspace(-1, 10, 40) * x ** 2).sum() + 0.25 * x[0] ** 4
    >>> tracker = wb.curvature.Tracker(seed=0)
    >>> found = [float(tracker(loss, torch.full((40,), 0.1 * step)).values[0]) for step in range(30)]
    >>> abs(found[9] - 10) < 0.05, abs(found[29] / (3 * 2.9**2 - 1) - 1) < 0.005  # the first eigenvalue has crossed
    (True, True)
    """

    def __init__(self, k: int = 1, *, seed: Seed = 0, check_every: int = 50) -> None:
        require_count("k", k)
        require_count("check_every", check_every)
        self.plan = Plan(int(k), seed, int(check_every))
        self.evaluations = 0
        self._memory: Memory | None = None

    def __call__(
        self, loss: Loss, parameters: Parameters, *, root: Parameters | None = None, shift: float | Tensor = 0.0
    ) -> Tracked:
        """The eigenvalues of root (H + shift) root, H the Hessian of `loss` at `parameters`.

        `root` holds the diagonal of a preconditioner's inverse square root, as the parameters are (see `wb.optimizers.edge`);
        without it the eigenvalues are the Hessian's.

        Raises:
            ValueError: more eigenvalues than parameters, half precision, or another number of parameters than before.
            workbench.memory.OutOfBudget: the vectors do not fit.
        """
        self._require(*size_of(parameters))
        return self.of(hvp_operator(loss, parameters), None if root is None else flatten(root)[0], shift)

    def of(self, operator: HVPOperator, root: Tensor | None = None, shift: float | Tensor = 0.0) -> Tracked:
        """The same of an `hvp_operator`."""
        self._require(operator.size, operator.dtype)

        def product(vector: Tensor) -> Tensor:
            if root is None:
                return operator(vector) + shift * vector
            scaled = root * vector
            return root * (operator(scaled) + shift * scaled)

        like = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
        if operator.size <= max(_EXACT, self.plan.k + 1):
            return self._exact(operator, root, shift)
        found, self._memory = Evaluation(self.plan, self.evaluations, product, like).from_(self._memory)
        self.evaluations += 1
        return found

    def _require(self, size: int, dtype: torch.dtype) -> None:
        require_full_precision(dtype)
        if self.plan.k > size:
            raise ValueError(f"k={self.plan.k}; choose at most the number of parameters, {size}")
        if self._memory is not None and self._memory.probe.numel() != size:
            raise ValueError(
                f"the parameters are {size:,} now and were {self._memory.probe.numel():,}: make a tracker for each network"
            )
        if size > max(_EXACT, self.plan.k + 1):
            rows = 2 * min(size, self.plan.k + FIRST + MOST) + 5 * self.plan.k + 12
            memory.require(
                rows * size * dtype.itemsize, f"{rows} vectors of {size:,} parameters", "Raise WORKBENCH_MEMORY (GiB)."
            )

    def _exact(self, operator: HVPOperator, root: Tensor | None, shift: float | Tensor) -> Tracked:
        rows = hessian_rows(operator) + shift * torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
        rows = rows if root is None else root[:, None] * rows * root
        values = symmetric_eigenvalues(symmetrised(rows)).flip(0)[: self.plan.k]
        number = torch.as_tensor(operator.size, device=rows.device)
        return Tracked(
            values, norm(rows - rows.mT).expand(self.plan.k), number, torch.ones_like(number, dtype=torch.bool)
        )
