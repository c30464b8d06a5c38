"""One fair trial: every method gets the same number of minibatch gradients, its own best step size and strength, and the same
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.dynamics import Labelled, run, sweep
from workbench.dynamics.sources import Minibatches
from workbench.optimizers import Cosine, oracle
from workbench.optimizers.rule import EffectiveGradient, Rule
from workbench.papers.sam_atlas.tasks import Drawn, Task
from workbench.parameters import add_scaled, count, inner, leaves, normalised, unravel

DIVERGED = 90.0
"""The error in per cent of a run that broke: a guess among ten classes."""


@dataclass(frozen=True)
class Method:
    """A rule of a step size (a schedule) and a strength, by name: `make(step_size, strength, steps)`.

    `share` of the budget is spent (1/2: the controls at SAM's number of steps). `strengths` says whether the strength is one of
    its own, or there is none.
    """

    name: str
    make: Callable[[Any, Any, int], Rule]
    share: float = 1.0
    has_strength: bool = True

    def steps(self, task: Task, drawn: Drawn) -> int:
        """As many steps as the budget allows, at the cost that one dry step finds."""
        return math.floor(self.share * task.budget / self.cost(task, drawn) + 1e-9)

    def cost(self, task: Task, drawn: Drawn) -> float:
        """Minibatch gradients per step."""
        problem = drawn.problem
        start = problem.initial(0)
        return oracle.needs(Minibatches(task.batch), problem, self.make(0.1, 0.1, 100), start, torch.tensor(0)).cost


@dataclass(frozen=True)
class Decayed(EffectiveGradient):
    """g + decay x: plain training with weight decay."""

    decay: Any
    name = "gd"

    def __call__(self, oracle: oracle.Oracle, parameters: Any) -> Any:
        return add_scaled(oracle.gradient(parameters), self.decay, parameters)


def trained(
    task: Task, method: Method, seeds: Sequence[int], step_sizes: Any, strengths: Any, *, sharp: bool = True
) -> xr.Dataset:
    """Errors (per cent, on validation and test samples), training loss, sharpness and gradients spent of every run (seed, and
    step_size and strength where several are given). A run that diverged has the error of a guess, and is marked.
    """
    axes: dict[str, Any] = {"seed": list(seeds)}
    several = {"step_size": step_sizes, "strength": strengths}
    axes |= {name: list(values) for name, values in several.items() if isinstance(values, (list, tuple))}
    fixed = {name: float(value) for name, value in several.items() if name not in axes}
    steps, cost = _budgeted(task, method)

    def one(seed: Any, **swept: Any) -> dict[str, Any]:
        drawn, here = task.drawn(seed), {**fixed, **swept}
        rule = method.make(Cosine(here["step_size"], steps), here["strength"], steps)
        end = run(drawn.problem, rule, seed=seed, steps=steps, batch_size=task.batch, at=[], progress=False)
        return measured(task, drawn, end.parameters, end.diverged, sharp, seed)

    with torch.no_grad():
        found = sweep(one, **axes, progress=False)
    return found.assign(gradients=steps * cost, steps=steps)


def _budgeted(task: Task, method: Method) -> tuple[int, float]:
    """Also loads the images and builds the network, outside of the sweep."""
    drawn = task.drawn(0)
    return method.steps(task, drawn), method.cost(task, drawn)


def measured(task: Task, drawn: Drawn, end: Any, diverged: Tensor, sharp: bool, seed: Any) -> dict[str, Any]:
    """What is measured at the last iterate."""
    problem = drawn.problem
    samples = {"validation_error": drawn.validation, "test_error": (problem.test_inputs, problem.test_targets)}
    errors = {name: task.error(problem, end, part) for name, part in samples.items()}
    broken = diverged | torch.stack(list(errors.values())).isnan().any()
    found: dict[str, Any] = {
        name: Labelled(torch.where(broken, torch.full_like(value, DIVERGED), value), (), unit="%")
        for name, value in errors.items()
    }
    found |= {"train_loss": problem.loss(end), "broken": broken.double()}
    return {**found, "sharpness": sharpness(problem, end, seed)} if sharp else found


def sharpness(problem: Any, parameters: Any, seed: Any, steps: int = 12) -> Tensor:
    """The Hessian's Rayleigh quotient after so many power steps on the training loss, from a random start.

    Tends to the eigenvalue of largest size, near a minimum the top one.
    """
    first = leaves(parameters)[0]
    vector = normalised(unravel(draws.normal(seed, (count(parameters),), stream="power").to(first.dtype), parameters))

    def product(v: Any) -> Any:
        return torch.func.jvp(problem.gradient, (parameters,), (v,))[1]

    for _ in range(steps):
        vector = normalised(product(vector))
    return inner(vector, product(vector))
