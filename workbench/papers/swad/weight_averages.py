"""One training run, and all ways of averaging its weights: the comparison of arXiv:2102.08604, tables 4 and 5.

`trajectory` trains once and keeps, at every evaluation, the checkpoint, the mean of the iterates since the last evaluation
(the segment) and the exponential average. `solutions` makes of it every method's weights, without training again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.draws import Seed
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.run import run
from workbench.optimizers.averaging.accumulators import EMA, Average, SegmentMean
from workbench.optimizers.averaging.loss_valley import LossValley, Variant, loss_valley
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, count, leaves, ravel, unravel

PARTS = ("validation", "target")
METHODS = (
    "ERM",
    "ERM last",
    "oracle",
    "SWAD",
    "SWAD released",
    "w/o Overfit",
    "w/o Dense",
    "w/o Opt-Overfit",
    "SWA",
    "fit on val",
    "LAWA last",
    "LAWA",
    "EMA last",
    "EMA",
)


class LeftOut(Protocol):
    """A problem with a domain left out: `LeftOutDigits`, `LeftOutImages`."""

    def initial(self, seed: Any) -> Any: ...

    def evaluate(self, parameters: Any, part: str) -> tuple[Tensor, Tensor]:
        """Loss and accuracy on "validation", every second sample of it ("validation even", "validation odd") or "target"."""
        ...


class Trajectory(NamedTuple):
    """What a run kept at its evaluations. `metrics` are validation loss and accuracy, target loss and accuracy."""

    steps: tuple[int, ...]
    metrics: Float[Tensor, "evaluation 4"]
    checkpoints: Float[Tensor, "evaluation parameter"]
    segments: Float[Tensor, "evaluation parameter"]
    ema: Float[Tensor, "evaluation parameter"]
    like: Parameters

    @property
    def losses(self) -> Float[Tensor, " evaluation"]:
        """Validation loss."""
        return self.metrics[:, 0]

    @property
    def accuracies(self) -> Float[Tensor, " evaluation"]:
        """Validation accuracy."""
        return self.metrics[:, 1]


def evaluation_steps(steps: int, every: int) -> tuple[int, ...]:
    """Steps taken at each evaluation: as in DomainBed after the first step, then after every `every` steps."""
    return tuple(range(1, steps + 2, every))


def trajectory(
    problem: Any,
    rule: Rule,
    *,
    seed: Seed,
    steps: int,
    every: int,
    batch_size: int,
    ema_decay: float | None = 0.99,
    progress: bool = False,
) -> Trajectory:
    """Train for steps + 1 steps and evaluate after the first and then every `every` steps.

    The vectors of all evaluations are kept in main memory. Runs inside `wb.sweep` if the problem does. Without
    `ema_decay` there is no exponential average.
    Raises OutOfBudget when they do not fit, ValueError when `every` does not divide `steps`.
    """
    if steps % every:
        raise ValueError(f"every must divide steps, got every={every} and steps={steps}")
    at = evaluation_steps(steps, every)
    start = problem.initial(seed)
    needed = 3 * len(at) * count(start) * leaves(start)[0].element_size()
    memory.require(
        needed, f"{len(at)} evaluations of three vectors of {count(start):,} weights", "Evaluate less often."
    )

    def vector(parameters: Parameters) -> Labelled:
        flat = ravel(parameters)
        return Labelled(flat if flat.device.type == "cpu" else flat.cpu(), ("parameter",))

    averages: dict[str, Average] = {"segment": SegmentMean(every, first=1)}
    if ema_decay is not None:
        averages["ema"] = EMA(ema_decay)
    kept = run(
        problem,
        rule,
        seed=seed,
        steps=steps + 1,
        batch_size=batch_size,
        sampling="replacement",
        average=averages,
        record={
            "metrics": lambda parameters: metrics(problem, parameters),
            "checkpoint": vector,
            **{name: (name, vector) for name in averages},
        },
        at=at,
        start=start,
        progress=progress,
    ).records
    ema = kept["ema"].value if "ema" in kept else kept["checkpoint"].value[:0]
    measured, checkpoints, segments = (kept[name].value for name in ("metrics", "checkpoint", "segment"))
    return Trajectory(at, measured, checkpoints, segments, ema, like=start)


def metrics(problem: LeftOut, parameters: Any) -> Float[Tensor, " 4"]:
    """Validation loss and accuracy, target loss and accuracy."""
    return torch.stack([value for part in PARTS for value in problem.evaluate(parameters, part)]).cpu()


def metrics_of(problem: LeftOut, path: Trajectory, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " 4"]:
    """`metrics` of weights given as a vector."""
    return metrics(problem, as_parameters(path, vector))


def as_parameters(path: Trajectory, vector: Float[Tensor, " parameter"]) -> Parameters:
    """The vector in the shape, and on the device, of the parameters."""
    return unravel(vector.to(leaves(path.like)[0].device), path.like)


def combined(weights: Float[Tensor, " evaluation"], vectors: Float[Tensor, "evaluation parameter"]) -> Tensor:
    """The weighted sum of the vectors."""
    return weights.to(vectors.dtype) @ vectors


def valley(
    path: Trajectory, n_converge: int, n_tolerance: int, tolerance: Any, variant: Variant = "paper"
) -> LossValley:
    """SWAD's window on the run's validation losses."""
    return loss_valley(path.losses, n_converge, n_tolerance, tolerance, variant)


def solutions(
    problem: LeftOut,
    path: Trajectory,
    *,
    n_converge: int = 3,
    n_tolerance: int = 6,
    tolerance: float | Tensor = 1.2,
    lawa_k: int = 5,
    sparse: int = 4,
    methods: Sequence[str] = METHODS,
) -> dict[str, Float[Tensor, " parameter"]]:
    """The weights of every method, all from one run.

    ERM, EMA, LAWA: the evaluation of best validation accuracy (of the checkpoint, the exponential average, the mean of the
    last `lawa_k` checkpoints); "... last": the last one; oracle: the checkpoint of best target accuracy. SWAD: all iterates
    of the window; SWAD released: the published code's weights. w/o Overfit: to the end of training; w/o Dense: every
    `sparse`-th checkpoint of the window; SWA: the checkpoints of the last fifth; w/o Opt-Overfit: all its iterates; fit on
    val: the window, on a grid of ten starts and ends, of best validation accuracy. Ties go to the first.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"no method called {', '.join(unknown)}; there are {', '.join(METHODS)}")
    total = len(path.steps)
    number = torch.arange(total)
    window = valley(path, n_converge, n_tolerance, tolerance)
    last_fifth = mean_over(number >= 0.8 * (total - 1))
    sparse_window = (number >= window.start) & (number <= window.end) & ((number - window.start) % sparse == 0)
    lawa = [mean_over((number > end - lawa_k) & (number <= end)) for end in range(total)]

    def accuracy(vector: Tensor) -> Tensor:
        return problem.evaluate(as_parameters(path, vector), "validation")[1].cpu()

    def chosen(scores: Tensor) -> Tensor:
        return (number == scores.nan_to_num(-1.0).argmax()).to(scores.dtype)

    made: dict[str, Callable[[], Tensor]] = {
        "ERM": lambda: combined(chosen(path.accuracies), path.checkpoints),
        "ERM last": lambda: path.checkpoints[-1],
        "oracle": lambda: combined(chosen(path.metrics[:, 3]), path.checkpoints),
        "SWAD": lambda: combined(window.weights, path.segments),
        "SWAD released": lambda: combined(
            valley(path, n_converge, n_tolerance, tolerance, "released").weights, path.segments
        ),
        "w/o Overfit": lambda: combined(mean_over(number >= window.start), path.segments),
        "w/o Dense": lambda: combined(mean_over(sparse_window), path.checkpoints),
        "w/o Opt-Overfit": lambda: combined(last_fifth, path.segments),
        "SWA": lambda: combined(last_fifth, path.checkpoints),
        "fit on val": lambda: best((combined(weights, path.segments) for weights in _grid(total)), accuracy),
        "LAWA last": lambda: combined(lawa[-1], path.checkpoints),
        "LAWA": lambda: best((combined(weights, path.checkpoints) for weights in lawa), accuracy),
        "EMA last": lambda: path.ema[-1],
        "EMA": lambda: best(iter(path.ema), accuracy),
    }
    return {name: made[name]() for name in methods}


def mean_over(chosen: Tensor) -> Float[Tensor, " evaluation"]:
    """Weights that average over the evaluations chosen."""
    weights = chosen.to(torch.float32)
    return weights / weights.sum()


def best(candidates: Iterable[Tensor], score: Callable[[Tensor], Tensor]) -> Tensor:
    """The first candidate of largest score; NaN scores lose. Only two candidates are held at a time."""
    winner, height = None, None
    for candidate in candidates:
        value = score(candidate).nan_to_num(-1.0)
        if winner is None or height is None:
            winner, height = candidate, value
            continue
        better = value > height
        winner, height = torch.where(better, candidate, winner), torch.where(better, value, height)
    if winner is None:
        raise ValueError("no candidates to choose from")
    return winner


def _grid(total: int) -> Iterable[Tensor]:
    """Windows between about eleven evenly spaced evaluations."""
    stride = max(1, (total - 1) // 10)
    ends, number = range(0, total, stride), torch.arange(total)
    return (mean_over((number >= low) & (number <= high)) for low in ends for high in ends if low < high)
