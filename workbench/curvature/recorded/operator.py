"""The Hessian at one point as a map on vectors, from the recorded operations of one evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .kinds import rule_of
from .lowering import lowered
from .rules import General, Part, Rearranged, Rule
from .tape import Tape, record


class Recorded:
    """Gradient and Hessian products of `loss(leaves)` at the values of the leaves, which require a gradient.

    Pearlmutter's forward-over-reverse sweep (Neural Computation 6, 1994), operation by operation. The parameters are the leaves
    ravelled one after the other.

    Raises:
        Unrecorded: see `tape.record`.
    """

    def __init__(self, loss: Callable[[list[Tensor]], Tensor], leaves: list[Tensor]) -> None:
        tape = lowered(record(loss, leaves))
        self.operations = tuple(str(operation.function) for operation in tape.operations if operation is not None)
        """Names in their order: what a proof of one product is about."""
        self.shapes = [value.shape for value in tape.values[: tape.leaves]]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.count, self.leaves = len(tape.values), tape.leaves
        with torch.no_grad():
            rules = {number: rule_of(tape, number) for number in range(tape.leaves, self.count)}
        self.steps = _plan(tape, rules)
        work = {n: tape.values[n].nbytes for n, rule in rules.items() if not isinstance(rule, (Rearranged, Part))}
        general = sum(size for number, size in work.items() if isinstance(rules[number], General))
        self.known = 1 - general / max(1, sum(work.values()))
        """Share of the computed values whose operations have rules of their own; others cost what double backward costs."""
        self.shape_of = [value.shape for value in tape.values]
        self.like = tape.values[-1]
        self.gradient = self._adjoint()

    def _adjoint(self) -> Float[Tensor, " parameter"]:
        with torch.no_grad():
            totals = _Totals(self)
            totals.add(self.count - 1, torch.ones_like(self.like), False)
            for step in reversed(self.steps):
                gradient, _ = totals.take(step.number)
                if gradient is None:
                    gradient = self.like.new_zeros(self.shape_of[step.number])
                if isinstance(step.rule, Part):
                    totals.add_part(step.inputs[0], step.rule, gradient)
                    continue
                step.rule.meet(gradient)
                for at, part in zip(step.inputs, step.rule.pull(gradient), strict=True):
                    totals.add(at, part, False)
            return totals.flat()

    def product(self, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        """The Hessian times a vector. What its zeros leave unchanged is skipped, a parameter as a whole at a time."""
        with torch.no_grad():
            changes, changed = self._forward(vector)
            totals = _Totals(self)
            for step in reversed(self.steps):
                gradient, free = totals.take(step.number)
                rule, output = step.rule, changes[step.number]
                changes[step.number] = None
                inputs = [changes[at] for at in step.inputs]
                if isinstance(rule, Part):
                    if gradient is not None:
                        totals.add_part(step.inputs[0], rule, gradient)
                    continue
                if step.number in changed:
                    parts, own = rule.change(gradient, free, inputs, output), rule.fresh or (free and rule.passes)
                elif gradient is not None:
                    parts, own = rule.pull(gradient), rule.fresh
                else:
                    continue
                for at, part in zip(step.inputs, parts, strict=True):
                    totals.add(at, part, own)
            return totals.flat()

    def _forward(self, vector: Tensor) -> tuple[list[Any], set[int]]:
        """The changes of all values that something looks at afterwards, and which operations have an input that changes."""
        changes: list[Any] = [None] * self.count
        changed: set[int] = set()
        for number, part in enumerate(vector.split(self.sizes)):
            if not vector.is_cpu or part.any():
                changes[number] = part.view(self.shapes[number])
        for step in self.steps:
            inputs = [changes[at] for at in step.inputs]
            if any(entry is not None for entry in inputs):
                changed.add(step.number)
                if not step.rule.partial:
                    inputs = [
                        self.like.new_zeros(self.shape_of[at]) if entry is None else entry
                        for at, entry in zip(step.inputs, inputs, strict=True)
                    ]
                changes[step.number] = step.rule.push(inputs, step.free)
            for at in step.gone:
                changes[at] = None
        return changes, changed


@dataclass(frozen=True)
class _Step:
    number: int
    inputs: tuple[int, ...]
    rule: Rule
    gone: tuple[int, ...]
    """Values whose changes nothing looks at after this operation, on the way forward or back."""
    free: tuple[bool, ...]
    """Whether the operation may write over the change of an input: no view of it is around and nothing looks at it again."""


def _plan(tape: Tape, rules: dict[int, Rule]) -> list[_Step]:
    inputs = {number: operation.inputs for number, operation in enumerate(tape.operations) if operation is not None}
    last: dict[int, int] = {}
    users: Counter[int] = Counter()
    kept: set[int] = set()
    for number, rule in rules.items():
        last.update(dict.fromkeys(inputs[number], number))
        users.update(inputs[number])
        kept.update(inputs[number] if rule.looks_at_inputs else ())
        kept.update((number,) if rule.looks_at_output else ())
    gone: dict[int, list[int]] = {}
    for number, at in last.items():
        if number not in kept:
            gone.setdefault(at, []).append(number)
    free: set[int] = set()
    for number, rule in rules.items():
        own = rule.fresh_push or (rule.passes and inputs[number][0] in free)
        if own and users[number] == 1 and number not in kept:
            free.add(number)
    return [
        _Step(
            number,
            inputs[number],
            rule,
            tuple(gone.get(number, ())),
            tuple(at in free for at in inputs[number]),
        )
        for number, rule in rules.items()
    ]


class _Totals:
    """Sums of what comes back to every value, and whether their memory is their own."""

    def __init__(self, of: Recorded) -> None:
        self.of = of
        self.sums: dict[int, Tensor] = {}
        self.own: dict[int, bool] = {}

    def take(self, number: int) -> tuple[Tensor | None, bool]:
        return self.sums.pop(number, None), self.own.pop(number, False)

    def add(self, number: int, part: Tensor | None, own: bool) -> None:
        if part is None:
            return
        total = self.sums.get(number)
        if total is None:
            self.sums[number], self.own[number] = part, own
        elif self.own[number]:
            total.add_(part)
        elif own:
            self.sums[number], self.own[number] = part.add_(total), True
        else:
            self.sums[number], self.own[number] = total + part, True

    def add_part(self, number: int, rule: Part, gradient: Tensor) -> None:
        total = self.sums.get(number)
        if total is None:
            total = self.of.like.new_zeros(self.of.shape_of[number])
        elif not self.own[number]:
            total = total.clone()
        rule.add_to(total, gradient)
        self.sums[number], self.own[number] = total, True

    def flat(self) -> Tensor:
        of = self.of
        return torch.cat(
            [
                self.sums[number].reshape(-1) if number in self.sums else of.like.new_zeros(size)
                for number, size in enumerate(of.sizes)
            ]
        )
