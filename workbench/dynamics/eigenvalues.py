"""The largest Hessian eigenvalues as a record of a run, each evaluation warm-started from the last, and the edge of the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from workbench.checks import require_count
from workbench.curvature.along.tracker import Tracker
from workbench.curvature.flat import Loss, flatten
from workbench.curvature.products import hvp_operator
from workbench.draws import Seed
from workbench.dynamics.labelled import Labelled
from workbench.optimizers.edges import Edge, edge
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, leaves


@dataclass(frozen=True)
class TopEigenvalues:
    """What `wb.run(..., record={"top": TopEigenvalues(5)})` records: the k largest Hessian eigenvalues of the training loss.

    Beside `top` it records `top_residual` (within that distance lies an eigenvalue) and `top_products`, the Hessian-vector
    products used; how, and how well, says `wb.curvature.Tracker`. `record=["sharpness"]` is short for `TopEigenvalues(1)`
    where the problem has no sharpness of its own in closed form, `record=["preconditioned_sharpness"]` for
    `TopEigenvalues(1, preconditioned=True)`.

    k: how many; one is recorded without a dimension `eigenvalue`.
    preconditioned: those of the matrix that decides the stability of the rule's next step, with `top_threshold` beside
        them, above which it is unstable (`wb.optimizers.edge`).
    check_every: every so many evaluations a random start looks for what the last vectors do not see.

    >>> import workbench as wb
    >>> bowl = wb.problems.quadratic([8.0, 2.0])
    >>> record = {"edge": wb.dynamics.TopEigenvalues(preconditioned=True)}
    >>> run = wb.run(bowl, wb.optimizers.gradient_descent(0.2), steps=1, record=record, progress=False)
    >>> [float(run.records[name].value[0]) for name in ("edge", "edge_threshold")]
    [8.0, 10.0]
    """

    k: int = 1
    preconditioned: bool = False
    check_every: int = 50

    def __post_init__(self) -> None:
        require_count("k", self.k)
        require_count("check_every", self.check_every)

    def names(self, name: str) -> list[str]:
        """The variables that it records under this name."""
        return [name, *(f"{name}_{part}" for part in ("residual", "products", "threshold")[: 2 + self.preconditioned])]


class Followed:
    """The eigenvalues along one run, from record to record."""

    def __init__(self, what: TopEigenvalues, loss: Loss, seed: Seed) -> None:
        self.what, self._loss = what, loss
        self._tracker = Tracker(what.k, seed=seed, check_every=what.check_every)

    def at(
        self, name: str, parameters: Parameters, rule: Rule, state: Any, step: Int[Tensor, ""]
    ) -> dict[str, Labelled]:
        """What is recorded at these parameters, the rule being in this state after so many steps."""
        operator, what = hvp_operator(self._loss, parameters), self.what
        here = Edge(0.0)
        if what.preconditioned:
            _, unflatten = flatten(parameters)
            here = edge(rule, state, unflatten(operator.gradient), step)
        found = self._tracker.of(operator, None if here.root is None else flatten(here.root)[0], here.shift)
        many = what.k > 1
        dims = ("eigenvalue",) if many else ()
        coords = {"eigenvalue": np.arange(1, what.k + 1)} if many else {}
        values, residuals = (part if many else part[0] for part in (found.values, found.residuals))
        long_name = sharpness_name(what.k, what.preconditioned)
        recorded = {
            name: Labelled(values, dims, coords, long_name=long_name),
            f"{name}_residual": Labelled(residuals, dims, coords, long_name=f"residual of {long_name}"),
            f"{name}_products": Labelled(found.products, long_name="Hessian-vector products"),
        }
        if what.preconditioned:
            like = leaves(parameters)[0]
            threshold = here.threshold if isinstance(here.threshold, Tensor) else like.new_tensor(here.threshold)
            recorded[f"{name}_threshold"] = Labelled(threshold, long_name="edge of stability")
        return recorded


def sharpness_name(k: int, preconditioned: bool) -> str:
    """What the k largest eigenvalues are called in a figure."""
    if k == 1:
        return "preconditioned sharpness" if preconditioned else "sharpness"
    return "largest preconditioned eigenvalues" if preconditioned else "largest Hessian eigenvalues"


SHORT = {"sharpness": TopEigenvalues(), "preconditioned_sharpness": TopEigenvalues(preconditioned=True)}
"""Names that every problem has."""
