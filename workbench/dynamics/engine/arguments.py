"""What a run is asked for: refused in words, before the first step, where it does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.checks import require_count
from workbench.curvature.model import transformed
from workbench.dynamics.sources.samples import AllSamples, Minibatches, Sampling
from workbench.optimizers.averaging.accumulators import Average
from workbench.optimizers.oracle import Source
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, concrete, count, leaves, tree_map
from workbench.problems.base import Problem

Stage = tuple[Rule, int]


def refuse_other_than_a_problem(problem: object) -> None:
    """Raises ValueError with what makes one."""
    if not isinstance(problem, Problem):
        raise ValueError(
            f"problem must be a Problem, got {type(problem).__name__}; wb.problems.classifier(data, model=..., loss=...) makes "
            "one of a model, a loss function and data or a loader, a subclass of wb.problems.Problem of any loss"
        )


def asked_source(source: Source | None, batch_size: int | None, sampling: Sampling) -> Source:
    if source is None:
        return AllSamples() if batch_size is None else Minibatches(batch_size, sampling)
    if batch_size is not None:
        raise ValueError("give either source or batch_size, not both: source=Minibatches(batch_size, sampling)")
    if not isinstance(source, Source):
        raise ValueError(f"source must be a Source such as wb.dynamics.sources.Minibatches(32), got {source!r}")
    return source


def plan(
    rule: Rule | Sequence[Stage], steps: int | None, epochs: int | None, per_epoch: int | None
) -> tuple[list[Stage], int]:
    """The stages and the number of steps; refuses what does not fit together."""
    if isinstance(rule, Sequence):
        if steps is not None or epochs is not None:
            raise ValueError("stages [(rule, steps), ...] carry their own numbers of steps; leave out steps and epochs")
        if not rule:
            raise ValueError("rule must be a Rule or a non-empty list of (rule, steps)")
        stages = [(_rule(stage_rule), _positive_int("steps of a stage", n)) for stage_rule, n in rule]
        return stages, sum(n for _, n in stages)
    if (steps is None) == (epochs is None):
        raise ValueError(f"give either steps or epochs, got steps={steps} and epochs={epochs}")
    total = _positive_int("steps", steps) if epochs is None else _positive_int("epochs", epochs) * (per_epoch or 1)
    return [(_rule(rule), total)], total


def _rule(rule: object) -> Rule:
    if not isinstance(rule, Rule):
        raise ValueError(
            f"rule must be a Rule such as wb.optimizers.sam(0.1, 0.05), or a list of (rule, steps), got {rule!r}"
        )
    return rule


def _positive_int(name: str, value: object) -> int:
    try:
        require_count(name, value)
    except ValueError as error:
        raise ValueError(f"{error}; to sweep it, name it in static=") from None
    return int(value)  # type: ignore[call-overload]


def refuse_clash(averages: Mapping[str, Average], points: Mapping[str, Parameters]) -> None:
    clash = [name for name in averages if name in points]
    if clash:
        raise ValueError(f"average: {clash[0]!r} is the name of a point of the rule; choose another name")


def checked_start(problem: Problem, parameters: Any) -> Any:
    """The start, in double precision where the problem's loss is. Refuses what is no start."""
    if not isinstance(parameters, (Tensor, dict)) or not all(isinstance(leaf, Tensor) for leaf in leaves(parameters)):
        raise ValueError(f"start must be a tensor or a dict of tensors, or the checkpoint of a run, got {parameters!r}")
    if count(parameters) == 0:
        raise ValueError("start has no entries; give the parameters to start from")
    named = parameters if isinstance(parameters, dict) else {"": parameters}
    shapes = ", ".join(f"{name} {tuple(x.shape)} {x.dtype}".strip() for name, x in named.items())
    try:
        loss = problem.loss(parameters)
    except (RuntimeError, TypeError, IndexError, KeyError, AttributeError) as error:
        if transformed():  # the sweep has words for what it cannot do
            raise
        raise ValueError(
            f"the loss cannot be computed at the start, {shapes}; problem.initial(seed) shows what fits "
            f"({type(error).__name__}: {error})"
        ) from error
    # Inside a sweep the value differs from run to run and cannot stop the others: such a run has diverged at step 0.
    value = concrete(loss)
    if value is not None and not math.isfinite(value):
        raise ValueError(f"the loss at the start is {value}; check the data and the initial parameters of {problem!r}")
    wide = loss.dtype == torch.float64
    return tree_map(lambda x: x.double() if wide and x.dtype == torch.float32 else x, parameters)
