"""The steps of a run: one by one, or many at once where that is faster."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

from workbench import memory
from workbench.compiler import compiler_found
from workbench.draws.table import Table
from workbench.dynamics.engine import step as steps
from workbench.dynamics.engine.compiled import NotTraceable, advance
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.engine.step import Carry, Fixed
from workbench.dynamics.engine.traced import Traced, differentiating

BLOCKS = 64
"""Blocks taken in one call at most, between two updates of the progress bar."""
MEDIUM = 100
"""Runs of at least this many steps are traced by default; tracing takes the time of some ten steps."""
STRETCH = 64
"""Most steps taken at once when traced: the random numbers of all of them are held."""

log = logging.getLogger("workbench")


class Stepper:
    """Advances a run: step by step, or several steps at once where they are compiled or traced and no record falls between.

    The first step is always taken as it is: it settles the types of what is carried along, and shows errors where they are.
    """

    def __init__(self, fixed: Fixed, table: Table, compile: bool | None, total: int) -> None:
        self._fixed, self._table = fixed, table
        self._compiled = bool(compile) and compiler_found()
        traced = compile is None and total >= MEDIUM and not self._compiled
        self._traced, self._started = Traced() if traced else None, False
        # A stretch of rows may take an eighth of what a run may.
        self._most = int(memory.share() / 8 / max(1, table.row_bytes))

    def advance(self, carry: Carry, step: int, stop: int) -> tuple[Carry, int]:
        """Take one step or several, not beyond `stop`. Returns the new carry and the number of steps taken."""
        blocks = min(min(stop - step, self._most) // steps.BLOCK, BLOCKS) if self._compiled else 0
        if blocks:
            try:
                return self._blocks(carry, step, blocks), blocks * steps.BLOCK
            except NotTraceable as error:
                log.warning("going on step by step: %s", error)
                self._compiled = False
        count = min(stop - step, STRETCH, self._most)
        if self._traced is not None and self._started and count >= 4:
            try:
                return self._stretch(carry, step, count, self._traced), count
            except Exception as error:
                # Nothing has been computed yet. If the step itself is at fault, it says so once more below.
                log.debug("going on without tracing: %s", error)
                self._traced = None
        self._started = True
        return steps.one_step(self._fixed, carry, self._table.requests, self._table.at(step)), 1

    def _blocks(self, carry: Carry, step: int, blocks: int) -> Carry:
        fixed, carried = Lifted(self._fixed), Lifted(carry)
        function = self._lifted(steps.block, fixed, carried)
        inputs = [
            [
                piece.unflatten(0, (-1, steps.BLOCK))
                for piece in self._table.stretches(request, step, blocks * steps.BLOCK, steps.BLOCK)
            ]
            for request in self._table.requests
        ]
        key = (fixed.structure, carried.structure, self._table.requests)
        return carried.rebuild(list(advance(function, key, fixed.tensors, carried.tensors, inputs, blocks)))

    def _stretch(self, carry: Carry, step: int, count: int, traced: Traced) -> Carry:
        fixed, carried = Lifted(self._fixed), Lifted(carry)
        if differentiating([*fixed.tensors, *carried.tensors]):
            raise NotTraceable("someone differentiates through the run")
        one = self._lifted(steps.one_step, fixed, carried)
        inputs = [[self._table.stretch(request, step, count)] for request in self._table.requests]
        return carried.rebuild(
            list(advance(one, (), fixed.tensors, carried.tensors, inputs, count, prepare=traced.prepare))
        )

    def _lifted(
        self, function: Callable[..., Carry], fixed: Lifted, carried: Lifted
    ) -> Callable[..., tuple[Tensor, ...]]:
        """`function` of steps as one of tensors: those of `fixed`, those carried along, and rows."""
        n_fixed, end = len(fixed.tensors), len(fixed.tensors) + len(carried.tensors)
        requests = self._table.requests

        def lifted(*tensors: Tensor) -> tuple[Tensor, ...]:
            inside, start = fixed.rebuild(list(tensors[:n_fixed])), carried.rebuild(list(tensors[n_fixed:end]))
            after = Lifted(function(inside, start, requests, tensors[end:]))
            if after.structure != carried.structure:
                raise NotTraceable("the step changes more than the tensors it carries along")
            if Lifted(inside).structure != fixed.structure:
                raise NotTraceable("the step changes what the problem or the rule holds")
            return tuple(after.tensors)

        return lifted
