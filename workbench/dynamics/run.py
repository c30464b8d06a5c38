"""Running a rule on a problem: one run, written as on paper; `wb.sweep` makes the many."""

from __future__ import annotations

import bisect
import contextvars
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Int
from torch import Tensor

from workbench import memory
from workbench.draws import Seed
from workbench.dynamics.engine.stepping import Carry, Stepper, wanted_compiled, wanted_traced
from workbench.dynamics.labelled import Labelled, label
from workbench.dynamics.minibatches import Minibatches, Sampling
from workbench.dynamics.progress import bar
from workbench.optimizers.averaging.accumulators import Average, AveragedRule
from workbench.optimizers.rule import UpdateRule
from workbench.parameters import Parameters, concrete, count, largest, leaves, on_device, tree_map
from workbench.problems.base import Measure, P, Problem

BLOWUP = 1e8
"""A run counts as diverged from the step on at which a parameter exceeds this in absolute value or is not finite."""

Quantity = str | Callable[[Parameters], Tensor | Labelled]
Recordable = Quantity | tuple[str, Quantity]
"""A quantity of the parameters, or the name of an average with a quantity of that average."""
Stage = tuple[UpdateRule, int]

_divergences: contextvars.ContextVar[list[Tensor] | None] = contextvars.ContextVar("divergences", default=None)


@dataclass(frozen=True)
class Run(Generic[P]):
    """The end of a run and what it kept on the way.

    `records[name]` has the dimension `step`; entries from the divergence on are NaN, and so are the parameters of a run
    that diverged. `diverged_at` is the number of steps after which it was seen, -1 if never.
    `integrals[name]` is the sum over all steps of step_size times the quantity before the step. `averages[name]` are averages
    of the weights.
    """

    parameters: P
    state: Any
    records: dict[str, Labelled]
    integrals: dict[str, Tensor]
    diverged: Bool[Tensor, ""]
    diverged_at: Int[Tensor, ""]
    steps: int
    averages: dict[str, P] = field(default_factory=dict)

    def dataset(self) -> xr.Dataset:
        """The records as a Dataset with dimension step (outside sweeps)."""
        variables = {name: record.array() for name, record in self.records.items()}
        variables |= {name: xr.DataArray(value.detach().cpu().numpy()) for name, value in self.integrals.items()}
        variables["diverged"] = xr.DataArray(bool(self.diverged))
        variables["diverged_at"] = xr.DataArray(int(self.diverged_at))
        return xr.Dataset(variables)

    def _repr_html_(self) -> str:
        return self.dataset()._repr_html_()


@dataclass
class _Recorder:
    """Evaluates the recorded quantities and keeps them in order."""

    measures: dict[str, tuple[str | None, Callable[[Parameters], Tensor | Labelled]]]
    steps: list[int]
    values: dict[str, list[Labelled]] = field(default_factory=dict)

    def take(self, parameters: Parameters, averages: Mapping[str, Parameters], alive: Tensor) -> None:
        for name, (source, measure) in self.measures.items():
            taken = label(measure(parameters if source is None else averages[source]), name)
            hidden = torch.where(alive.to(taken.value.device), taken.value, math.nan)
            self.values.setdefault(name, []).append(taken.with_value(hidden))

    def records(self, per_epoch: int | None) -> dict[str, Labelled]:
        coords: dict[str, object] = {"step": np.array(self.steps)}
        if per_epoch is not None:
            coords["epoch"] = ("step", np.array(self.steps) / per_epoch)
        labelled = {}
        for name, taken in self.values.items():
            measure, first = self.measures[name][1], taken[0]
            unit = measure.unit if isinstance(measure, Measure) else first.unit
            long_name = measure.long_name if isinstance(measure, Measure) else first.long_name
            value = torch.stack([entry.value for entry in taken])
            labelled[name] = Labelled(value, ("step", *first.dims), {**coords, **first.coords}, unit, long_name)
        return labelled


def run(
    problem: Problem[P],
    rule: UpdateRule | Sequence[Stage],
    *,
    seed: Seed = 0,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    sampling: Sampling = "epoch",
    average: Mapping[str, Average] | None = None,
    record: Iterable[str] | Mapping[str, Recordable] = (),
    every: int | None = None,
    at: Iterable[int] | Literal["log"] | None = None,
    integrate: Mapping[str, Callable[[Parameters], Tensor]] | None = None,
    start: P | None = None,
    blowup: float = BLOWUP,
    compile: bool | None = None,
    progress: bool = True,
) -> Run[P]:
    """Run `rule` on `problem` and record quantities on the way.

    rule: a rule with `steps` (or `epochs`), or stages [(rule, steps), ...] to switch rules; each stage starts a fresh state.
    seed: of the initial parameters (unless `start` is given), of the minibatches and of random ascents.
    batch_size: None for full-batch gradients; `sampling` "epoch" (shuffled, incomplete last batch dropped) or "replacement".
    average: accumulators of the iterates by name, such as {"ema": EMA(0.99)}; they start anew with each stage.
    record: names from `problem.measures`, or a dict name -> name or function of the parameters; ("ema", "test_error") is the
        quantity at the average of that name. Taken at step 0, at the end, and `every` so many steps, or `at` the steps
        listed, or "log" (about ten a decade). Default: every epoch, or 100 evenly spaced steps.
    integrate: functions of the parameters before each step, summed times the step size.
    compile: compile blocks of steps with `torch.compile`'s inductor; None for long runs only (see `stepping.LONG`), while
        shorter ones are traced, so that a step runs without looking at the Python code again; False takes every step as
        written. The results agree to rounding. A compiled run cannot be differentiated through.
    Raises ValueError before the first step when an argument is out of range or the initial loss is not finite.
    """
    stages, total, batches = _plan(problem, rule, seed, steps, epochs, batch_size, sampling)
    parameters = problem.initial(seed) if start is None else start
    _refuse_bad_start(problem, parameters)
    device = leaves(parameters)[0].device
    stages = [(on_device(stage_rule, device), n) for stage_rule, n in stages]
    per_epoch = batches.per_epoch if batches else None
    averages = dict(average or {})
    if averages:
        stages = [(cast(UpdateRule, AveragedRule(stage_rule, averages)), n) for stage_rule, n in stages]
    measures, recorded = _resolve(problem, record, averages), _record_steps(total, every, at, per_epoch)
    recorder = _Recorder(measures, recorded if measures else [])
    memory.require(_estimate(problem, stages, parameters, batch_size, recorder), f"a run of {total} steps", "")

    integrate = dict(integrate or {})
    # Comparisons with NaN are false, so NaN counts as too large. `survived` counts the steps while alive.
    alive = largest(parameters) <= blowup
    zeros = {name: torch.zeros_like(function(parameters)) for name, function in integrate.items()}
    carry = Carry(parameters, stages[0][0].init(parameters), alive, torch.zeros_like(alive, dtype=torch.int64), zeros)
    wanted = set(recorder.steps)
    if 0 in wanted:
        recorder.take(parameters, _values(stages[0][0], carry.state), alive)
    shown = bar(total, "steps", progress)
    step = 0
    for stage_rule, stage_steps in stages:
        carry = carry._replace(state=stage_rule.init(carry.parameters))
        compiled, traced = wanted_compiled(compile, stage_rule, total), wanted_traced(compile, stage_rule, total)
        stepper = Stepper(problem, stage_rule, integrate, blowup, batches, seed, compiled, traced)
        end = step + stage_steps
        while step < end:
            following = bisect.bisect_right(recorder.steps, step)
            stop = min([end, *recorder.steps[following : following + 1]])
            carry, taken = stepper.advance(carry, step, stop)
            step += taken
            if step in wanted:
                recorder.take(carry.parameters, _values(stage_rule, carry.state), carry.alive)
            shown.update(taken)
    shown.close()
    diverged, diverged_at = ~carry.alive, torch.where(carry.alive, -1, carry.survived)
    end_point: Any = tree_map(lambda leaf: torch.where(diverged, math.nan, leaf), carry.parameters)
    found = _divergences.get()
    if found is not None:
        found.append(diverged_at)
    means: dict[str, Any] = {
        name: tree_map(lambda leaf: torch.where(diverged, math.nan, leaf), mean)
        for name, mean in _values(stages[-1][0], carry.state).items()
    }
    records = recorder.records(per_epoch)
    return Run(end_point, carry.state, records, carry.integrals, diverged, diverged_at, total, means)


def _values(rule: UpdateRule, state: Any) -> dict[str, Parameters]:
    return rule.values(state) if isinstance(rule, AveragedRule) else {}


def _plan(
    problem: Problem,
    rule: UpdateRule | Sequence[Stage],
    seed: Seed,
    steps: int | None,
    epochs: int | None,
    batch_size: int | None,
    sampling: Sampling,
) -> tuple[list[Stage], int, Minibatches | None]:
    """The stages, the number of steps and the minibatches; refuses what does not fit together."""
    batches = None if batch_size is None else Minibatches(seed, problem.n_samples, batch_size, sampling, problem.strata)
    if not isinstance(rule, UpdateRule):
        if not isinstance(rule, Sequence):
            raise ValueError(f"rule must be a Rule or a non-empty list of (rule, steps), got {rule!r}")
        if steps is not None or epochs is not None:
            raise ValueError("stages [(rule, steps), ...] carry their own numbers of steps; leave out steps and epochs")
        stages = [(stage_rule, _positive_int("steps of a stage", n)) for stage_rule, n in rule]
        if not stages:
            raise ValueError("rule must be a Rule or a non-empty list of (rule, steps)")
        return stages, sum(n for _, n in stages), batches
    if (steps is None) == (epochs is None):
        raise ValueError(f"give either steps or epochs, got steps={steps} and epochs={epochs}")
    if steps is None:
        per_epoch = 1 if batches is None else batches.per_epoch
        return (
            [(rule, _positive_int("epochs", epochs) * per_epoch)],
            _positive_int("epochs", epochs) * per_epoch,
            batches,
        )
    return [(rule, _positive_int("steps", steps))], _positive_int("steps", steps), batches


def _positive_int(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value!r}; to sweep it, name it in static=")
    return int(value)


def _resolve(
    problem: Problem, record: Iterable[str] | Mapping[str, Recordable], averages: Mapping[str, Average]
) -> dict[str, tuple[str | None, Callable[[Parameters], Tensor | Labelled]]]:
    if isinstance(record, str):
        raise ValueError(f"record must be a list of names or a dict, got the string {record!r}; write [{record!r}]")
    pairs = record.items() if isinstance(record, Mapping) else ((name, name) for name in record)
    known, resolved = problem.measures, {}
    for name, wanted in pairs:
        source, quantity = wanted if isinstance(wanted, tuple) else (None, wanted)
        if source is not None and source not in averages:
            raise ValueError(
                f"record: {name} asks for the average {source!r}; average= has {', '.join(averages) or 'none'}"
            )
        if callable(quantity):
            resolved[name] = (source, quantity)
        elif quantity in known:
            resolved[name] = (source, known[quantity])
        else:
            raise ValueError(
                f"record: {type(problem).__name__} has no measure {quantity!r}; known are {', '.join(known)}, "
                "or pass a dict name -> function of the parameters"
            )
    return resolved


def _record_steps(total: int, every: int | None, at: Iterable[int] | str | None, per_epoch: int | None) -> list[int]:
    """The steps at which to record, always with 0 and the last one unless a list says otherwise."""
    if every is not None and at is not None:
        raise ValueError("give either every or at, not both")
    if every is not None:
        return sorted({*range(0, total + 1, _positive_int("every", every)), total})
    if isinstance(at, str):
        if at != "log":
            raise ValueError(f'at must be "log" or a list of steps, got {at!r}')
        decades = max(1, math.ceil(10 * math.log10(total)))
        return sorted({0, *(int(s) for s in np.unique(np.geomspace(1, total, decades + 1).round())), total})
    if at is not None:
        wanted = sorted({int(step) for step in at})
        if wanted and not 0 <= wanted[0] <= wanted[-1] <= total:
            raise ValueError(f"at must hold steps between 0 and {total}, got {wanted[0]} to {wanted[-1]}")
        return wanted
    if per_epoch is not None:
        return sorted({*range(0, total + 1, per_epoch), total})
    return sorted({int(s) for s in np.linspace(0, total, min(total, 100) + 1).round()})


def _refuse_bad_start(problem: Problem, parameters: Parameters) -> None:
    # Inside a sweep the value differs from run to run and cannot stop the others: such a run has diverged at step 0.
    loss = concrete(problem.loss(parameters))
    if loss is not None and not math.isfinite(loss):
        raise ValueError(f"the loss at the start is {loss}; check the data and the initial parameters of {problem!r}")


def _estimate(
    problem: Problem, stages: list[Stage], parameters: Parameters, batch_size: int | None, recorder: _Recorder
) -> float:
    """Bytes one run holds at once: parameters with gradients for every group, minibatch activations, records."""
    samples = batch_size or problem.n_samples
    sizes = [getattr(rule.gradient, "m", None) for rule, _ in stages]
    groups = max(samples // m if m else 1 for m in sizes)
    width = leaves(parameters)[0].element_size()
    held = count(parameters) * (8 + 5 * groups)
    data = sum(tensor[0].numel() for tensor in problem.data) if problem.data else 0
    largest_layer = max((leaf.shape[0] for leaf in leaves(parameters) if leaf.dim() > 0), default=1)
    activations = samples * (4 * data + 12 * largest_layer)
    return width * (held + activations) + 8 * len(recorder.steps) * max(1, len(recorder.measures))
