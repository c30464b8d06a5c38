"""Expectations over what one step of a source may draw: sums over all outcomes, without Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from workbench.draws.kinds import Draw
from workbench.draws.table import Draws, Request
from workbench.dynamics.sources.samples import Outcomes, SecondMoment
from workbench.optimizers.oracle import Moment, Oracle
from workbench.parameters import Parameters, tree_map
from workbench.problems.base import P, Problem

Value = TypeVar("Value", bound=Parameters)
_AT_ONCE = 256
"""Outcomes held at once."""


@runtime_checkable
class Enumerable(Protocol):
    """A source with finitely many outcomes of a step, and so a known second moment: AllSamples, Minibatches, Importance."""

    def oracle(self, moment: Moment) -> Oracle: ...

    def outcomes(self, problem: Problem, most: int) -> Outcomes: ...

    def second_moment(self, problem: Problem) -> SecondMoment: ...


def expectation(
    problem: Problem[P],
    source: Enumerable,
    function: Callable[[Oracle, P], Value],
    parameters: P,
    *,
    most: int = 20_000,
) -> Value:
    """E function(oracle, parameters) over the samples of one step, exactly: the sum over all outcomes of the source's own code.

    function: pure, of the oracle of a first step; an effective gradient such as `UnifiedSAM(rho, lam)` is one, and
        `lambda oracle, x: problem.loss(rule.step(oracle, x, ())[0])` is the loss after a step of a rule without state.
    most: outcomes allowed. Inside vmap and sweeps like anything else; outcomes are held 256 at a time.

    Raises ValueError where the source has more outcomes or no finite list of them, and where `function` draws numbers itself.

    >>> from workbench.dynamics.sources import Minibatches
    >>> from workbench.optimizers import Plain
    >>> from workbench.problems import random_least_squares
    >>> problem = random_least_squares(0, 6, 3)
    >>> mean = expectation(problem, Minibatches(2, "tau-nice"), Plain(), problem.initial(0))
    >>> torch.allclose(mean, problem.gradient(problem.initial(0)))
    True
    """
    if not isinstance(source, Enumerable):
        raise ValueError(
            f"{type(source).__name__} has no finite list of outcomes: take AllSamples, Minibatches or Importance, or average "
            "over seeds"
        )
    draw, rows, chances = source.outcomes(problem, most)
    step = torch.zeros((), dtype=torch.int64)

    def one(row: Tensor) -> Value:
        return function(source.oracle(Moment(problem, parameters, step, _drawn(draw, row))), parameters)

    total = None
    for some, weights in zip(rows.split(_AT_ONCE), chances.split(_AT_ONCE), strict=True):

        def weighted(values: Tensor, weights: Tensor = weights) -> Tensor:
            return torch.tensordot(weights.to(values.dtype), values, 1)

        part = tree_map(weighted, torch.func.vmap(one)(some))
        total = part if total is None else tree_map(torch.add, total, part)
    return cast(Value, total)


def _drawn(draw: Draw | None, row: Tensor) -> Draws:
    """The draws of a step in which the source's is this row."""

    def lookup(request: Request) -> Tensor:
        if request != (draw, 0):
            raise ValueError(f"only the source's own numbers can be enumerated, and {request[0]!r} was asked for")
        return row

    return Draws(lookup)
