"""What a run keeps on the way: which quantities, of what, at which steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.checks import require_count
from workbench.draws import Seed
from workbench.dynamics.eigenvalues import SHORT, Followed, TopEigenvalues
from workbench.dynamics.labelled import Labelled, label
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters
from workbench.problems.base import Measure, Problem

Quantity = str | Callable[[Parameters], Tensor | Labelled] | TopEigenvalues
Recordable = Quantity | tuple[str, Quantity]
"""A quantity of the parameters, or the name of an average or of a point of the rule with a quantity of that."""


class Seen(NamedTuple):
    """A run at one step, as records see it. `sequences` are the averages and the rule's points, by name; `step` counts the rule's
    steps.
    """

    parameters: Parameters
    sequences: Mapping[str, Parameters]
    time: Tensor | None
    alive: Tensor
    rule: Rule
    state: Any
    step: Tensor


@dataclass(frozen=True)
class Wanted:
    """One recorded quantity: `of` is None for the parameters themselves, or the name of another sequence."""

    of: str | None
    quantity: Callable[[Parameters], Tensor | Labelled] | Followed | None
    """None for the elapsed time."""

    def at(self, name: str, seen: Seen) -> dict[str, Tensor | Labelled]:
        """Its value, by the name of the variable; followed eigenvalues are several."""
        if self.quantity is None:
            assert seen.time is not None
            return {name: seen.time}
        where = seen.parameters if self.of is None else seen.sequences[self.of]
        if isinstance(self.quantity, Followed):
            return {**self.quantity.at(name, where, seen.rule, seen.state, seen.step)}
        return {name: self.quantity(where)}


@dataclass
class Recorder:
    """Evaluates the recorded quantities and keeps them in order."""

    wanted: dict[str, Wanted]
    steps: list[int]
    values: dict[str, list[Labelled]] = field(default_factory=dict)

    @property
    def sequences(self) -> set[str]:
        """The averages and points that are recorded."""
        return {wanted.of for wanted in self.wanted.values() if wanted.of is not None}

    @property
    def timed(self) -> bool:
        """Whether the elapsed time is recorded."""
        return any(wanted.quantity is None for wanted in self.wanted.values())

    def take(self, seen: Seen) -> None:
        """Keep the quantities at this step; NaN where the run has diverged, in double precision where they are whole numbers."""
        for asked, wanted in self.wanted.items():
            for name, found in wanted.at(asked, seen).items():
                taken = label(found, name)
                value = taken.value if taken.value.is_floating_point() else taken.value.double()
                hidden = torch.where(seen.alive.to(value.device), value, math.nan)
                self.values.setdefault(name, []).append(taken.with_value(hidden))

    def records(self, per_epoch: int | None) -> dict[str, Labelled]:
        """All that was kept, with the coordinates step and (with minibatches) epoch."""
        coords: dict[str, object] = {"step": np.array(self.steps)}
        if per_epoch is not None:
            coords["epoch"] = ("step", np.array(self.steps) / per_epoch)
        labelled = {}
        for name, taken in self.values.items():
            first = taken[0]
            measure = self.wanted[name].quantity if name in self.wanted else first
            long_name, unit = first.long_name, first.unit
            if isinstance(measure, Measure):
                long_name, unit = measure.long_name, measure.unit
            elif measure is None:
                long_name = "time"
            value = torch.stack([entry.value for entry in taken])
            labelled[name] = Labelled(value, ("step", *first.dims), {**coords, **first.coords}, unit, long_name)
        return labelled


def resolve(
    problem: Problem,
    record: Iterable[str] | Mapping[str, Recordable],
    averages: Sequence[str],
    points: Sequence[str],
    seed: Seed,
) -> dict[str, Wanted]:
    """The recorded quantities by name; `seed` is of the searches for eigenvalues. Raises ValueError for unknown ones, with the
    known, and for names that meet.
    """
    if isinstance(record, str):
        raise ValueError(f"record must be a list of names or a dict, got the string {record!r}; write [{record!r}]")
    pairs = record.items() if isinstance(record, Mapping) else ((name, name) for name in record)
    known, resolved = problem.measures, {}
    for name, wanted in pairs:
        of, quantity = wanted if isinstance(wanted, tuple) else (None, wanted)
        if of is not None and of not in (*averages, *points):
            raise ValueError(
                f"record: {name} asks for the average {of!r}; average= has {', '.join(averages) or 'none'}, and the rule's "
                f"points are {', '.join(points) or 'none'}"
            )
        if quantity in SHORT and quantity not in known:
            quantity = SHORT[quantity]
        if isinstance(quantity, TopEigenvalues):
            if of is not None and quantity.preconditioned:
                raise ValueError(
                    f"record: {name}: the rule steps at the parameters, not at {of!r}; leave out preconditioned"
                )
            resolved[name] = Wanted(of, Followed(quantity, problem.loss, seed))
        elif callable(quantity):
            resolved[name] = Wanted(of, quantity)
        elif quantity in known:
            resolved[name] = Wanted(of, known[quantity])
        elif quantity == "time" and of is None:
            resolved[name] = Wanted(None, None)
        else:
            raise ValueError(
                f"record: {type(problem).__name__} has no measure {quantity!r}; known are "
                f"{', '.join(dict.fromkeys([*known, *SHORT, 'time']))}, or pass a dict name -> function of the parameters"
            )
    beside = {
        extra: name
        for name, wanted in resolved.items()
        if isinstance(wanted.quantity, Followed)
        for extra in wanted.quantity.what.names(name)[1:]
    }
    for extra, name in beside.items():
        if extra in resolved:
            raise ValueError(f"record: {name} records {extra} beside itself; give yours another name")
    return resolved


def record_steps(
    first: int, total: int, every: int | None, at: Iterable[int] | str | None, per_epoch: int | None
) -> list[int]:
    """The steps at which to record, with the first and the last one unless a list says otherwise."""
    last = first + total
    if every is not None and at is not None:
        raise ValueError("give either every or at, not both")
    if every is not None:
        require_count("every", every)
        # pyrefly: ignore[unnecessary-type-conversion]
        return sorted({first, *range(-(-first // every) * every, last + 1, int(every)), last})
    if isinstance(at, str):
        if at != "log":
            raise ValueError(f'at must be "log" or a list of steps, got {at!r}')
        decades = max(1, math.ceil(10 * math.log10(total)))
        return sorted({first, *(first + int(s) for s in np.unique(np.geomspace(1, total, decades + 1).round())), last})
    if at is not None:
        at = list(at)
        # pyrefly: ignore[unnecessary-type-conversion]
        broken = [step for step in at if step != int(step)]
        if broken:
            raise ValueError(f"at must hold whole numbers of steps, got {broken[0]!r}")
        # pyrefly: ignore[unnecessary-type-conversion]
        wanted = sorted({int(step) for step in at})
        if wanted and not first <= wanted[0] <= wanted[-1] <= last:
            raise ValueError(f"at must hold steps between {first} and {last}, got {wanted[0]} to {wanted[-1]}")
        return wanted
    if per_epoch is not None:
        return sorted({first, *range(-(-first // per_epoch) * per_epoch, last + 1, per_epoch), last})
    return sorted({first + int(s) for s in np.linspace(0, total, min(total, 100) + 1).round()})
