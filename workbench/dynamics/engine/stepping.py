"""One step of a run, and many of them at once where that is faster."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.compiler import compiler_found
from workbench.draws import Seed
from workbench.dynamics.engine.compiled import NotTraceable, advance
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.engine.traced import Traced, differentiating
from workbench.dynamics.minibatches import Minibatches
from workbench.dynamics.oracle import StepOracle
from workbench.optimizers.rule import UpdateRule
from workbench.optimizers.schedules import at
from workbench.parameters import Parameters, largest, leaves, tree_map
from workbench.problems.base import Batch, Problem

BLOCK = 8
"""Steps compiled together. More fuse better, but the first call takes longer."""
BLOCKS = 64
"""Blocks taken in one call at most, between two updates of the progress bar."""
LONG = 40_000
"""Runs of at least this many steps are compiled by default: shorter ones end, traced, before the compiler would."""
MEDIUM = 100
"""Runs of at least this many steps are traced by default; tracing takes the time of some ten steps."""
STRETCH = 64
"""Most steps taken at once when traced: the indices of all their minibatches are held."""

Integrand = Callable[[Parameters], Tensor]
log = logging.getLogger("workbench")


class Carry(NamedTuple):
    """What one step hands to the next."""

    parameters: Parameters
    state: Any
    alive: Bool[Tensor, ""]
    survived: Int[Tensor, ""]
    integrals: dict[str, Tensor]


class _Fixed(NamedTuple):
    """What stays the same from step to step."""

    problem: Problem
    rule: UpdateRule
    integrate: Mapping[str, Integrand]
    blowup: float


def wanted_compiled(compile: bool | None, rule: UpdateRule, steps: int) -> bool:
    """Whether to compile: as asked, else for long runs. Random ascents are drawn on the host, step by step."""
    if getattr(rule.gradient, "ascent", None) == "random":
        return False
    wanted = steps >= LONG if compile is None else compile
    return wanted and compiler_found()


def wanted_traced(compile: bool | None, rule: UpdateRule, steps: int) -> bool:
    """Whether to trace a run that is not compiled."""
    return compile is None and steps >= MEDIUM and getattr(rule.gradient, "ascent", None) != "random"


class Stepper:
    """Advances a run: step by step, or several steps at once where they are compiled or traced and no record falls between.

    The first step is always taken as it is: it settles the types of what is carried along, and shows errors where they are.
    """

    def __init__(
        self,
        problem: Problem,
        rule: UpdateRule,
        integrate: Mapping[str, Integrand],
        blowup: float,
        batches: Minibatches | None,
        seed: Seed,
        compiled: bool,
        traced: bool = False,
    ) -> None:
        self._fixed = _Fixed(problem, rule, dict(integrate), blowup)
        self._batches, self._seed, self._compiled = batches, seed, compiled
        self._traced, self._started = Traced() if traced and not compiled else None, False

    def advance(self, carry: Carry, step: int, stop: int) -> tuple[Carry, int]:
        """Take one step or several blocks, not beyond `stop`. Returns the new carry and the number of steps taken."""
        blocks = min((stop - step) // BLOCK, BLOCKS) if self._compiled else 0
        if blocks:
            try:
                return self._blocks(carry, step, blocks), blocks * BLOCK
            except NotTraceable as error:
                log.warning("going on step by step: %s", error)
                self._compiled = False
        if self._traced is not None and self._started and stop - step >= 4:
            count = min(stop - step, STRETCH)
            try:
                return self._stretch(carry, step, count, self._traced), count
            except Exception as error:
                # Nothing has been computed yet. If the step itself is at fault, it says so once more below.
                log.debug("going on without tracing: %s", error)
                self._traced = None
        self._started = True
        oracle_data = (self._indices(step), self._indices(step - 1) if step else None)
        return _one_step(self._fixed, carry, *oracle_data, self._seed, step), 1

    def _blocks(self, carry: Carry, step: int, blocks: int) -> Carry:
        fixed, carried = Lifted(self._fixed), Lifted(carry)
        n_fixed, n_carry = len(fixed.tensors), len(carried.tensors)
        seed = 0 if isinstance(self._seed, Tensor) else self._seed

        def block(*tensors: Tensor) -> tuple[Tensor, ...]:
            lifted = list(tensors)
            start = carried.rebuild(lifted[n_fixed : n_fixed + n_carry])
            rows = lifted[-1] if len(lifted) > n_fixed + n_carry else None
            inside = fixed.rebuild(lifted[:n_fixed])
            after = Lifted(_block(inside, start, rows, seed))
            _require_pure(fixed, inside, carried, after)
            return tuple(after.tensors)

        key = (fixed.structure, carried.structure)
        inputs = [] if self._batches is None else [self._rows(step, blocks, BLOCK)]
        return carried.rebuild(list(advance(block, key, fixed.tensors, carried.tensors, inputs, blocks)))

    def _stretch(self, carry: Carry, step: int, count: int, traced: Traced) -> Carry:
        fixed, carried = Lifted(self._fixed), Lifted(carry)
        n_fixed, n_carry = len(fixed.tensors), len(carried.tensors)
        if differentiating([*fixed.tensors, *carried.tensors]):
            raise NotTraceable("someone differentiates through the run")

        def one(*tensors: Tensor) -> tuple[Tensor, ...]:
            lifted = list(tensors)
            start = carried.rebuild(lifted[n_fixed : n_fixed + n_carry])
            before, now = lifted[-1].unbind(0) if len(lifted) > n_fixed + n_carry else (None, None)
            inside = fixed.rebuild(lifted[:n_fixed])
            after = Lifted(_one_step(inside, start, now, before, 0, None))
            _require_pure(fixed, inside, carried, after)
            return tuple(after.tensors)

        inputs = [] if self._batches is None else [self._rows(step, count, 1)]
        return carried.rebuild(
            list(advance(one, (), fixed.tensors, carried.tensors, inputs, count, prepare=traced.prepare))
        )

    def _rows(self, step: int, blocks: int, size: int) -> Int[Tensor, "block row batch"]:
        """Indices of the minibatches of blocks of `size` steps, the one before the block first."""
        rows = [self._indices(max(step - 1, 0)), *(self._indices(step + k) for k in range(blocks * size))]
        return torch.stack(rows).unfold(0, size + 1, size).movedim(-1, 1)  # type: ignore[arg-type]

    def _indices(self, step: int) -> Int[Tensor, " batch"] | None:
        return None if self._batches is None else self._batches.indices(step)


def _require_pure(fixed: Lifted, inside: _Fixed, carried: Lifted, after: Lifted) -> None:
    if after.structure != carried.structure:
        raise NotTraceable("the step changes more than the tensors it carries along")
    if Lifted(inside).structure != fixed.structure:
        raise NotTraceable("the step changes what the problem or the rule holds")


def _one_step(
    fixed: _Fixed, carry: Carry, now: Tensor | None, before: Tensor | None, seed: Seed, step: int | None
) -> Carry:
    """One update with its bookkeeping. `now` and `before` index this and the previous minibatch; `step` is None for all."""
    moved = _update(fixed, carry, now, before, seed, step)
    alive = carry.alive & (largest(moved.parameters) <= fixed.blowup)
    return moved._replace(alive=alive, survived=carry.survived + carry.alive)


def _block(fixed: _Fixed, carry: Carry, rows: Int[Tensor, "row batch"] | None, seed: Seed) -> Carry:
    """BLOCK updates. Their bookkeeping is entry by entry, which the compiler fuses into the updates; a reduction over the
    entries follows once, at the end.
    """
    first, good, kept = carry, None, None
    for k in range(BLOCK):
        now, before = (None, None) if rows is None else (rows[k + 1], rows[k])
        carry = _update(fixed, carry, now, before, seed, None)
        within = tree_map(lambda leaf: (leaf.abs() <= fixed.blowup).to(leaf.dtype), carry.parameters)
        good = within if good is None else tree_map(torch.mul, good, within)
        kept = good if kept is None else tree_map(torch.add, kept, good)
    assert kept is not None
    # Steps after which no entry had blown up yet; the step at which one did counts as survived, as in `_one_step`.
    steps = functools.reduce(torch.minimum, [leaf.amin() for leaf in leaves(kept)])
    survived = first.survived + first.alive * torch.clamp(steps + 1, max=BLOCK).to(torch.int64)
    return carry._replace(alive=first.alive & (steps == BLOCK), survived=survived)


def _update(
    fixed: _Fixed, carry: Carry, now: Tensor | None, before: Tensor | None, seed: Seed, step: int | None
) -> Carry:
    problem, rule = fixed.problem, fixed.rule
    batch = None if now is None else _gather(problem.data, now)
    needs_previous = getattr(rule.gradient, "ascent", None) == "previous"
    previous = _gather(problem.data, before) if needs_previous and before is not None else None
    oracle = StepOracle(problem, carry.state.count, batch, previous, seed, step)
    weight = at(rule.step_size, carry.state.count)
    integrals = {
        name: carry.integrals[name] + weight * function(carry.parameters) for name, function in fixed.integrate.items()
    }
    parameters, state = rule.step(oracle, carry.parameters, carry.state)
    return Carry(parameters, state, carry.alive, carry.survived, integrals)


def _gather(data: Batch, indices: Int[Tensor, " batch"]) -> Batch:
    # Under vmap less than half the time of index_select, which becomes a gather of single entries.
    return tuple(tensor[indices] for tensor in data)
