"""One step of a run, and blocks of steps for the compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor

from workbench.draws import Seed
from workbench.dynamics.compiled import advance, compiler_found
from workbench.dynamics.lifting import Lifted
from workbench.dynamics.minibatches import Minibatches
from workbench.dynamics.oracle import StepOracle
from workbench.optimizers.rule import UpdateRule
from workbench.optimizers.schedules import at
from workbench.parameters import Parameters, largest
from workbench.problems.base import Batch, Problem

BLOCK = 8
"""Steps compiled together. More fuse better, but the first call takes longer."""
LONG = 20_000
"""Runs of at least this many steps are compiled by default: shorter ones end before the compiler would."""

Integrand = Callable[[Parameters], Tensor]


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


class Stepper:
    """Advances a run, block by block where that is compiled and no record falls within the block."""

    def __init__(
        self,
        problem: Problem,
        rule: UpdateRule,
        integrate: Mapping[str, Integrand],
        blowup: float,
        batches: Minibatches | None,
        seed: Seed,
        compiled: bool,
    ) -> None:
        self._fixed = _Fixed(problem, rule, dict(integrate), blowup)
        self._batches, self._seed, self._compiled = batches, seed, compiled

    def advance(self, carry: Carry, step: int, stop: int) -> tuple[Carry, int]:
        """Take one step or one block, not beyond `stop`. Returns the new carry and the number of steps taken."""
        if self._compiled and stop - step >= BLOCK:
            return self._block(carry, step), BLOCK
        oracle_data = (self._indices(step), self._indices(step - 1) if step else None)
        return _one_step(self._fixed, carry, *oracle_data, self._seed, step), 1

    def _block(self, carry: Carry, step: int) -> Carry:
        indices = None
        if self._batches is not None:
            first = max(step - 1, 0)
            indices = [self._indices(first), *(self._indices(step + k) for k in range(BLOCK))]
        lifted, seed = Lifted((self._fixed, carry, indices)), 0 if isinstance(self._seed, Tensor) else self._seed

        def block(*tensors: Tensor) -> tuple[Tensor, ...]:
            fixed, inner, rows = lifted.rebuild(list(tensors))
            for k in range(BLOCK):
                now, before = (None, None) if rows is None else (rows[k + 1], rows[k])
                inner = _one_step(fixed, inner, now, before, seed, 0)
            return tuple(Lifted(inner).tensors)

        return Lifted(carry).rebuild(list(advance(block, lifted.structure, *lifted.tensors)))

    def _indices(self, step: int) -> Int[Tensor, " batch"] | None:
        return None if self._batches is None else self._batches.indices(step)


def _one_step(fixed: _Fixed, carry: Carry, now: Tensor | None, before: Tensor | None, seed: Seed, step: int) -> Carry:
    """One update with its bookkeeping. `now` and `before` index this and the previous minibatch."""
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
    alive = carry.alive & (largest(parameters) <= fixed.blowup)
    return Carry(parameters, state, alive, carry.survived + carry.alive, integrals)


def _gather(data: Batch, indices: Int[Tensor, " batch"]) -> Batch:
    # Under vmap less than half the time of index_select, which becomes a gather of single entries.
    return tuple(tensor[indices] for tensor in data)
