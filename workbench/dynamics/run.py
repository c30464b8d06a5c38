"""Running a rule on a problem: one run, written as on paper; `wb.sweep` makes the many."""

from __future__ import annotations

import bisect
import contextvars
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple

import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import memory
from workbench.draws.host import Seed
from workbench.draws.table import Table
from workbench.dynamics.engine.arguments import (
    Stage,
    asked_source,
    checked_start,
    plan,
    refuse_clash,
    refuse_other_than_a_problem,
)
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.engine.step import Carry, Event, Fixed, Stop, first_clock
from workbench.dynamics.engine.stepping import Stepper
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.progress import bar
from workbench.dynamics.records import Recordable, Recorder, Seen, record_steps, resolve
from workbench.dynamics.sources.samples import Sampling
from workbench.dynamics.swept import plain
from workbench.optimizers.averaging.accumulators import Average
from workbench.optimizers.oracle import Needs, Source, needs
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, concrete, count, largest, leaves, with_tensors
from workbench.problems.base import P, Problem

BLOWUP = 1e8
"""A run counts as diverged from the step on at which a parameter exceeds this in absolute value or is not finite."""

_divergences: contextvars.ContextVar[list[Tensor] | None] = contextvars.ContextVar("divergences", default=None)


class Checkpoint(NamedTuple):
    """Where a run can go on as if it had not stopped: `wb.run(..., start=checkpoint)`.

    `step` counts all steps taken (of the random numbers), `rule_step` those of the last rule (of its schedules).

    >>> import torch
    >>> import workbench as wb
    >>> valley, rule = wb.problems.quadratic([1.0]), wb.optimizers.heavy_ball(0.1, beta=0.5)
    >>> half = wb.run(valley, rule, start=torch.tensor([3.0]), steps=5).checkpoint
    >>> whole = wb.run(valley, rule, start=torch.tensor([3.0]), steps=10)
    >>> half.step, torch.equal(wb.run(valley, rule, start=half, steps=5).parameters, whole.parameters)
    (5, True)
    """

    parameters: Any
    state: Any
    step: int
    rule_step: int
    averages: Mapping[str, Any] = {}
    time: Tensor | None = None


@dataclass(frozen=True)
class Run(Generic[P]):
    """The end of a run and what it kept on the way.

    `records[name]` has the dimension `step`. `integrals[name]` is the sum over all steps of the step's duration (its step size)
    times the quantity before the step. `averages[name]` are averages of the weights, `points[name]` further sequences of the
    rule. `diverged_at` is the number of steps after which divergence was seen, -1 if never; of a run that diverged, records from
    there on are NaN, and so is everything else that it hands out (numbers of steps apart).
    `time` (the sum of durations) and `events` exist where `stop`, `events` or a record asks for time. `stopped_at` is the number
    of steps after which `stop` held, -1 if never. `needs` tells what one step asks for, rule by rule.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([3.0]), torch.tensor([1.0])
    >>> run = wb.run(valley, wb.optimizers.gradient_descent(1.0), start=start, steps=40)  # x -> -2 x
    >>> bool(run.diverged), int(run.diverged_at)  # 2^27 is the first power of two above 1e8
    (True, 27)
    """

    parameters: P
    state: Any
    records: dict[str, Labelled]
    integrals: dict[str, Tensor]
    diverged: Bool[Tensor, ""]
    diverged_at: Int[Tensor, ""]
    steps: int
    averages: dict[str, P] = field(default_factory=dict)
    points: dict[str, P] = field(default_factory=dict)
    time: Float[Tensor, ""] | None = None
    stopped_at: Int[Tensor, ""] | None = None
    events: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
    needs: tuple[Needs, ...] = ()
    checkpoint: Checkpoint | None = None

    def dataset(self) -> xr.Dataset:
        """The records as a Dataset with dimension step (outside sweeps)."""
        variables = {name: record.array() for name, record in self.records.items()}
        numbers = {**self.integrals, **self.events}
        variables |= {name: xr.DataArray(value.detach().cpu().numpy()) for name, value in numbers.items()}
        variables["diverged"] = xr.DataArray(bool(self.diverged))
        variables["diverged_at"] = xr.DataArray(int(self.diverged_at))
        return xr.Dataset(variables)

    def _repr_html_(self) -> str:
        return self.dataset()._repr_html_()


def run(
    problem: Problem[P],
    rule: Rule | Sequence[Stage],
    *,
    seed: Seed = 0,
    steps: int | None = None,
    epochs: int | None = None,
    source: Source | None = None,
    batch_size: int | None = None,
    sampling: Sampling = "epoch",
    average: Mapping[str, Average] | None = None,
    record: Iterable[str] | Mapping[str, Recordable] = (),
    every: int | None = None,
    at: Iterable[int] | Literal["log"] | None = None,
    integrate: Mapping[str, Callable[[Any], Tensor]] | None = None,
    stop: Stop | None = None,
    events: Mapping[str, Event] | None = None,
    start: P | Checkpoint | None = None,
    blowup: float = BLOWUP,
    compile: bool | None = None,
    progress: bool = True,
) -> Run[P]:
    """Run `rule` on `problem` and record quantities on the way.

    rule: a rule with `steps` (or `epochs`), or stages [(rule, steps), ...] to switch rules; each stage starts a fresh state.
    seed: of the initial parameters (unless `start` is given) and of all random numbers of the source and the rule.
    source: where gradients come from (`workbench.dynamics.sources`); `batch_size=b, sampling=s` is short for
        `source=Minibatches(b, s)`, neither means all samples at every step.
    average: accumulators of the iterates by name, such as {"ema": EMA(0.99)}; they start anew with each stage.
    record: names from `problem.measures`, or a dict name -> name or function of the parameters; ("ema", "test_error") is the
        quantity at the average (or the rule's point) of that name, "time" the sum of the steps' durations, "sharpness" and
        "preconditioned_sharpness" the largest Hessian eigenvalue from record to record (`TopEigenvalues`). Taken at step 0, at
        the end, and `every` so many steps, or `at` the steps listed, or "log" (about ten a decade). Default: every epoch, or 100
        evenly spaced steps.
    integrate: functions of the parameters before each step, summed times the step's duration (its step size).
    stop: `stop(parameters, time)` freezes a run from the step on at which it holds.
    events: functions (parameters, time) -> number; `run.events[name]` is the time of the first change of sign, linear between
        steps, NaN if none. The run goes on.
    start: the parameters to start from (float32 becomes float64 where the problem's loss is), or the `checkpoint` of a run to go
        on with (of the same rule; integrals start at zero).
    blowup: a parameter above this in absolute value means divergence.
    compile: None traces a run of 100 steps or more, so that a step runs without looking at the Python code again; True compiles
        blocks of steps with `torch.compile`'s inductor (some seconds once, which long runs win back); False takes every step
        as written. The results agree to rounding. A compiled run cannot be differentiated through.
    Raises ValueError before the first step when an argument is out of range, the initial loss is not finite, or the rule asks
    for something that the source cannot give.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> run = wb.run(valley, wb.optimizers.gradient_descent(0.5), start=start, steps=3, record=['train_loss'])
    >>> run.parameters, run.records['train_loss'].value  # x halves, the loss falls to a quarter
    (tensor([0.3750], dtype=torch.float64), tensor([4.5000, 1.1250, 0.2812, 0.0703], dtype=torch.float64))
    """
    refuse_other_than_a_problem(problem)
    source = asked_source(source, batch_size, sampling)
    per_epoch = source.per_epoch(problem)
    stages, total = plan(rule, steps, epochs, per_epoch)
    begin = start if isinstance(start, Checkpoint) else Checkpoint(start, None, 0, 0)
    if begin.state is not None and set(begin.averages) != set(average or {}):
        raise ValueError(f"the checkpoint holds the averages {sorted(begin.averages)}; give average= the same names")
    parameters = problem.initial(seed) if begin.parameters is None else begin.parameters
    parameters = checked_start(problem, parameters)
    device = leaves(parameters)[0].device
    # Swept numbers count as Python's outside of the loop; in it, plain tensors are faster.
    stages = [(with_tensors(stage_rule, lambda value: plain(value).to(device)), n) for stage_rule, n in stages]
    source = with_tensors(source, lambda value: plain(value).to(device))
    averages, integrate, events = dict(average or {}), dict(integrate or {}), dict(events or {})
    points = stages[0][0].points(parameters, stages[0][0].init(parameters))
    refuse_clash(averages, points)
    wanted = resolve(problem, record, list(averages), list(points), seed)
    recorded = record_steps(begin.step, total, every, at, per_epoch)
    recorder = Recorder(wanted, recorded if wanted else [])

    zero = torch.zeros((), dtype=torch.int64, device=device)
    # pyrefly: ignore[unnecessary-type-conversion]
    samples = problem.n_samples if batch_size is None else int(batch_size)

    def room(groups: int) -> None:
        memory.require(_estimate(problem, samples, groups, parameters, recorder), f"a run of {total} steps", "")

    room(1)
    asked = tuple(needs(source, problem, stage_rule, parameters, zero, room) for stage_rule, _ in stages)

    # Comparisons with NaN are false, so NaN counts as too large. `survived` counts the steps while alive.
    alive = largest(parameters) <= blowup
    zeros = {name: torch.zeros_like(function(parameters)) for name, function in integrate.items()}
    timed = stop is not None or bool(events) or recorder.timed
    carry = Carry(parameters, begin.state, dict(begin.averages), zero + begin.rule_step, alive, zero, zeros, None)
    fixed = Fixed(problem, source, stages[0][0], averages, integrate, stop, events, blowup)
    if timed:
        elapsed = torch.zeros((), dtype=torch.float64, device=device) if begin.time is None else begin.time
        carry = carry._replace(clock=first_clock(fixed, parameters, elapsed))
    shown = bar(total, "steps", progress)
    step = begin.step
    for number, (stage_rule, stage_steps) in enumerate(stages):
        if number or begin.state is None:
            carry = carry._replace(
                state=stage_rule.init(carry.parameters),
                averages={name: each.init(carry.parameters) for name, each in averages.items()},
                step=zero,
            )
        fixed = fixed._replace(rule=stage_rule)
        if step in recorder.steps[:1] and not number:
            recorder.take(_seen(carry, fixed, recorder))
        stepper = Stepper(fixed, Table(seed, asked[number].requests), compile, total)
        end = step + stage_steps
        while step < end:
            following = bisect.bisect_right(recorder.steps, step)
            until = min([end, *recorder.steps[following : following + 1]])
            carry, taken = (carry, until - step) if _stopped(carry) else stepper.advance(carry, step, until)
            step += taken
            if step in recorder.steps[following : following + 1]:
                recorder.take(_seen(carry, fixed, recorder))
            shown.update(taken)
    shown.close()
    rule_step = stages[-1][1] + (begin.rule_step if len(stages) == 1 else 0)
    ended = _ended(carry, fixed, recorder.records(per_epoch), asked, total, (step, rule_step))
    found = _divergences.get()
    if found is not None:
        found.append(ended.diverged_at)
    return ended


def _stopped(carry: Carry) -> bool:
    """Whether nothing moves any more. In a sweep other runs may, and nobody knows."""
    return carry.clock is not None and concrete(carry.clock.running.double()) == 0


def _seen(carry: Carry, fixed: Fixed, recorder: Recorder) -> Seen:
    sequences = {
        name: each.value(carry.averages[name]) for name, each in fixed.averages.items() if name in recorder.sequences
    }
    if recorder.sequences - set(sequences):
        sequences |= fixed.rule.points(carry.parameters, carry.state)
    time = None if carry.clock is None else carry.clock.time
    return Seen(carry.parameters, sequences, time, carry.alive, fixed.rule, carry.state, carry.step)


def _ended(
    carry: Carry,
    fixed: Fixed,
    records: dict[str, Labelled],
    asked: tuple[Needs, ...],
    total: int,
    place: tuple[int, int],
) -> Run:
    diverged, diverged_at = ~carry.alive, torch.where(carry.alive, -1, carry.survived)

    def hidden(thing: Any) -> Any:
        lifted = Lifted(thing)
        return lifted.rebuild(
            [torch.where(diverged, math.nan, leaf) if leaf.is_floating_point() else leaf for leaf in lifted.tensors]
        )

    clock = carry.clock
    parameters, state, averages, integrals = hidden((carry.parameters, carry.state, carry.averages, carry.integrals))
    time = None if clock is None else hidden(clock.time)
    return Run(
        parameters,
        state,
        records,
        integrals,
        diverged,
        diverged_at,
        total,
        averages={name: each.value(averages[name]) for name, each in fixed.averages.items()},
        points=fixed.rule.points(parameters, state),
        time=time,
        stopped_at=None if clock is None or fixed.stop is None else torch.where(clock.running, -1, clock.steps),
        events={} if clock is None else {name: hidden(found) for name, (_, found) in clock.events.items()},
        needs=asked,
        checkpoint=Checkpoint(parameters, state, *place, averages, time),
    )


def _estimate(problem: Problem, samples: int, groups: int, parameters: Parameters, recorder: Recorder) -> float:
    """Bytes one run holds at once: parameters with gradients for every group, minibatch activations, records."""
    width = leaves(parameters)[0].element_size()
    held = count(parameters) * (8 + 5 * groups)
    data = sum(tensor[0].numel() for tensor in problem.data) if problem.data else 0
    largest_layer = max((leaf.shape[0] for leaf in leaves(parameters) if leaf.dim() > 0), default=1)
    activations = samples * (4 * data + 12 * largest_layer)
    return width * (held + activations) + 8 * len(recorder.steps) * max(1, len(recorder.wanted))
