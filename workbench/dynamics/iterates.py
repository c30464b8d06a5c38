"""The iterates w_1, ..., w_T of a run kept as one array, and their suffix averages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench import memory
from workbench.draws import Seed
from workbench.dynamics.run import BLOWUP, run
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, count, tree_map
from workbench.problems.base import Problem


def iterates(
    problem: Problem,
    rule: Rule,
    T: int,
    *,
    start: Parameters | None = None,
    seed: Seed = 0,
    keep: Callable[[Parameters], dict[str, Tensor]] | None = None,
    blowup: float = BLOWUP,
) -> dict[str, Tensor]:
    """w_1 (the start) to w_T of a run of T - 1 full-batch steps, leaf by leaf with leading dimension T.

    keep: what to keep of every iterate, as a dict of tensors; by default all of it (a tensor is kept as "w").
    blowup: as in `run`.
    Raises `memory.OutOfBudget` before the run when the iterates do not fit.
    """
    first = problem.initial(seed) if start is None else start
    chosen = keep or _all_of
    kept = chosen(first)
    entries = count(kept)
    memory.require(
        32.0 * T * entries,  # the list of iterates, their stack, and as much for suffix averages
        f"{T} iterates of {entries:,} numbers",
        "Keep less of every iterate, or take fewer.",
    )
    if T == 1:
        return tree_map(lambda leaf: leaf[None], kept)  # type: ignore[return-value]
    record = {name: (lambda w, name=name: chosen(w)[name]) for name in kept}
    records = run(
        problem, rule, start=first, seed=seed, steps=T - 1, every=1, record=record, progress=False, blowup=blowup
    ).records
    return {name: records[name].value for name in kept}


def _all_of(w: Parameters) -> dict[str, Tensor]:
    return w if isinstance(w, dict) else {"w": w}


def suffix_averages(trajectory: Parameters) -> Parameters:
    """Entry tau - 1 is the mean of the iterates tau, ..., T: reversed cumulative means along the leading dimension."""

    def of_leaf(leaf: Tensor) -> Tensor:
        lengths = torch.arange(leaf.shape[0], 0, -1, dtype=leaf.dtype, device=leaf.device)
        return leaf.flip(0).cumsum(0).flip(0) / lengths.reshape(-1, *(1 for _ in leaf.shape[1:]))

    return tree_map(of_leaf, trajectory)
