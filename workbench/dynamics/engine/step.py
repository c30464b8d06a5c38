"""One step of a run, and a block of them, as functions of what is carried along and the step's random numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.draws.table import Request, rows_of
from workbench.dynamics.engine.lifting import Lifted
from workbench.optimizers.averaging.accumulators import Average
from workbench.optimizers.oracle import Moment, Source
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, largest, leaves, tree_map
from workbench.problems.base import Problem

BLOCK = 8
"""Steps compiled together. More fuse better, but the first call takes longer."""

Integrand = Callable[[Parameters], Tensor]
Stop = Callable[[Any, Float[Tensor, ""]], Bool[Tensor, ""]]
Event = Callable[[Any, Float[Tensor, ""]], Float[Tensor, ""]]


class Clock(NamedTuple):
    """The elapsed time, whether the run still goes on, how many steps it has taken, and by event the last value and the time of
    its first change of sign.
    """

    time: Float[Tensor, ""]
    running: Bool[Tensor, ""]
    steps: Int[Tensor, ""]
    events: dict[str, tuple[Tensor, Tensor]]


class Carry(NamedTuple):
    """What one step hands to the next. `step` counts the steps of the rule."""

    parameters: Parameters
    state: Any
    averages: dict[str, Any]
    step: Int[Tensor, ""]
    alive: Bool[Tensor, ""]
    survived: Int[Tensor, ""]
    integrals: dict[str, Tensor]
    clock: Clock | None


class Fixed(NamedTuple):
    """What stays the same from step to step."""

    problem: Problem
    source: Source
    rule: Rule
    averages: Mapping[str, Average]
    integrate: Mapping[str, Integrand]
    stop: Stop | None
    events: Mapping[str, Event]
    blowup: float


def one_step(fixed: Fixed, carry: Carry, requests: Sequence[Request], rows: Sequence[Tensor]) -> Carry:
    """One update with its bookkeeping; `rows` are this step's, in the order of `requests`."""
    moved = _update(fixed, carry, requests, rows)
    alive = carry.alive & (largest(moved.parameters) <= fixed.blowup)
    moved = moved._replace(alive=alive, survived=carry.survived + carry.alive)
    if fixed.stop is None:
        return moved
    assert moved.clock is not None and carry.clock is not None
    running = carry.clock.running
    stopped = fixed.stop(moved.parameters, moved.clock.time)
    after, before = Lifted(moved), Lifted(carry)
    kept = after.rebuild(
        [torch.where(running, new, old) for new, old in zip(after.tensors, before.tensors, strict=True)]
    )
    return kept._replace(step=moved.step, clock=kept.clock._replace(running=running & ~stopped))


def block(fixed: Fixed, carry: Carry, requests: Sequence[Request], rows: Sequence[Tensor]) -> Carry:
    """BLOCK updates; `rows` have BLOCK entries each. The bookkeeping is entry by entry, which the compiler fuses into the
    updates; a reduction over the entries follows once, at the end.
    """
    first, good, kept = carry, None, None
    for k in range(BLOCK):
        here = [row[k] for row in rows]
        if fixed.stop is not None:
            carry = one_step(fixed, carry, requests, here)
            continue
        carry = _update(fixed, carry, requests, here)
        within = tree_map(lambda leaf: (leaf.abs() <= fixed.blowup).to(leaf.dtype), carry.parameters)
        good = within if good is None else tree_map(torch.mul, good, within)
        kept = good if kept is None else tree_map(torch.add, kept, good)
    if kept is None:
        return carry
    # Steps after which no entry had blown up yet; the step at which one did counts as survived, as in `one_step`.
    steps = functools.reduce(torch.minimum, [leaf.amin() for leaf in leaves(kept)])
    survived = first.survived + first.alive * torch.clamp(steps + 1, max=BLOCK).to(torch.int64)
    return carry._replace(alive=first.alive & (steps == BLOCK), survived=survived)


def _update(fixed: Fixed, carry: Carry, requests: Sequence[Request], rows: Sequence[Tensor]) -> Carry:
    draws = rows_of(dict(zip(requests, rows, strict=True)))
    oracle = fixed.source.oracle(Moment(fixed.problem, carry.parameters, carry.step, draws))
    duration = fixed.rule.duration(oracle) if fixed.integrate or carry.clock is not None else 0.0
    integrals = {
        name: carry.integrals[name] + duration * function(carry.parameters)
        for name, function in fixed.integrate.items()
    }
    parameters, state = fixed.rule.step(oracle, carry.parameters, carry.state)
    averages = {name: average.update(parameters, carry.averages[name]) for name, average in fixed.averages.items()}
    clock = None if carry.clock is None else _later(fixed, carry.clock, duration, parameters)
    return Carry(parameters, state, averages, carry.step + 1, carry.alive, carry.survived, integrals, clock)


def _later(fixed: Fixed, clock: Clock, duration: float | Tensor, parameters: Parameters) -> Clock:
    time, events = clock.time + duration, {}
    for name, function in fixed.events.items():
        before, found = clock.events[name]
        value = function(parameters, time).to(before.dtype)
        crossed = ((before < 0) & (value >= 0)) | ((before > 0) & (value <= 0))
        there = clock.time + (time - clock.time) * (before / torch.where(crossed, before - value, 1.0))
        events[name] = (value, torch.where(crossed & found.isnan(), there, found))
    return clock._replace(time=time, steps=clock.steps + 1, events=events)


def first_clock(fixed: Fixed, parameters: Parameters, time: Tensor) -> Clock:
    """The clock before the first step."""
    events = {
        name: (function(parameters, time), torch.full_like(time, math.nan)) for name, function in fixed.events.items()
    }
    running = torch.ones_like(time, dtype=torch.bool) if fixed.stop is None else ~fixed.stop(parameters, time)
    return Clock(time, running, torch.zeros_like(time, dtype=torch.int64), events)
