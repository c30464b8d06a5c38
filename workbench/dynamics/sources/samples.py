"""Oracles over the samples of a problem: all of them, minibatches, weighted ones, or fresh ones at every step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from workbench.checks import require_count
from workbench.draws.kinds import Draw, Epochs, Integers, Stratified, Subsets, Uniform
from workbench.draws.table import Draws
from workbench.optimizers.oracle import Moment, NotProvided, Oracle, Source
from workbench.parameters import Parameters, concrete
from workbench.problems.base import Batch, Problem

Sampling = Literal["epoch", "replacement", "tau-nice"]


@dataclass(frozen=True, eq=False)
class SampleOracle(Oracle):
    """Gradients of the problem on a batch of its samples; `batch=None` means all of them, `weights` multiply their losses."""

    source: Source  # type: ignore[bad-override]
    moment: Moment  # type: ignore[bad-override]
    batch: Batch | None = None
    weights: Float[Tensor, " sample"] | None = None

    def gradient(self, x: Parameters) -> Parameters:
        if self.weights is not None and self.batch is not None:
            return self.moment.problem.weighted_gradient(x, self.batch, self.weights)
        return self.moment.problem.gradient(x, self.batch)

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        if self.weights is not None:
            raise NotProvided("the value of the loss", "its samples are weighted; ask for gradients")
        return self.moment.problem.loss(x) if self.batch is None else self.moment.problem.batch_loss(x, self.batch)

    @property
    def samples(self) -> int | None:
        return (self.moment.problem.n_samples if self.batch is None else self.batch[0].shape[0]) or None

    def chosen(self, indices: Int[Tensor, " sample"]) -> SampleOracle:
        batch = self.moment.problem.data if self.batch is None else self.batch
        if not batch:
            raise NotProvided("single samples", f"{type(self.moment.problem).__name__} has none; use sam or usam")
        weights = None if self.weights is None else self.weights[indices]
        return replace(self, batch=gather(batch, indices), weights=weights)

    def outputs(self, x: Parameters) -> Tensor:
        return self.moment.problem.batch_outputs(x, self._seen("outputs"))

    def output_loss(self, outputs: Tensor) -> Float[Tensor, ""]:
        return self.moment.problem.output_loss(outputs, self._seen("outputs"))

    def _seen(self, what: str) -> Batch:
        problem = self.moment.problem
        if type(problem).batch_outputs is Problem.batch_outputs:
            raise NotProvided(f"the model's {what}", f"{type(problem).__name__} has no model; use sam or usam")
        if self.weights is not None:
            raise NotProvided(f"the model's {what}", "its samples are weighted; use Minibatches")
        return problem.data if self.batch is None else self.batch

    @property
    def full(self) -> Oracle:
        return SampleOracle(self.source, self.moment)

    def groups(self, size: int) -> Groups:
        problem = self.moment.problem
        batch = problem.data if self.batch is None else self.batch
        what = f"groups of m = {size} samples"
        if not batch:
            raise NotProvided(what, f"{type(problem).__name__} has no samples; use sam or usam")
        if self.weights is not None:
            raise NotProvided(what, "its samples are weighted; use Minibatches")
        samples = batch[0].shape[0]
        if samples % size:
            raise NotProvided(what, f"m must divide the number of samples in a step, {samples}, got m={size}")
        return Groups(problem, tuple(t.reshape(samples // size, size, *t.shape[1:]) for t in batch), samples // size)


@dataclass(frozen=True, eq=False)
class Groups:
    """Consecutive groups of a step's samples, side by side (`workbench.optimizers.oracle.Side`)."""

    problem: Problem
    batches: Batch
    count: int

    def gradients(self, x: Parameters) -> Parameters:
        return torch.func.vmap(self.problem.gradient, (None, 0))(x, self.batches)

    def gradients_at(self, xs: Parameters) -> Parameters:
        return torch.func.vmap(self.problem.gradient, (0, 0))(xs, self.batches)

    def losses(self, x: Parameters) -> Float[Tensor, " group"]:
        return torch.func.vmap(self.problem.batch_loss, (None, 0))(x, self.batches)


class Outcomes(NamedTuple):
    """Everything that one step of a source may draw: its draw (None where it draws nothing), its possible rows, their chances."""

    draw: Draw | None
    rows: Shaped[Tensor, "outcome ..."]
    chances: Float[Tensor, " outcome"]


class SecondMoment(NamedTuple):
    """E|g_S(x)|^2 = sum_i samples_i |grad f_i(x)|^2 + full |grad f(x)|^2 of a step's gradient g_S, exactly and at every x."""

    samples: Float[Tensor, " sample"]
    full: float


@dataclass(frozen=True)
class AllSamples(Source):
    """Every step sees all samples: the gradient of the loss."""

    def oracle(self, moment: Moment) -> SampleOracle:
        return SampleOracle(self, moment)

    def outcomes(self, problem: Problem, most: int) -> Outcomes:
        """The one outcome."""
        return Outcomes(None, torch.zeros(1), torch.ones(1, dtype=torch.float64))

    def second_moment(self, problem: Problem) -> SecondMoment:
        """|grad f|^2."""
        return SecondMoment(torch.zeros(problem.n_samples, dtype=torch.float64), 1.0)


@dataclass(frozen=True)
class Minibatches(Source):
    """`size` samples a step.

    sampling "epoch": every epoch visits the samples in a fresh random order, in consecutive batches; an incomplete last batch
    is dropped. "replacement": uniform independent samples; of a problem with strata (consecutive groups of samples), equally
    many from each, group after group. "tau-nice": a uniform subset, independent from step to step.
    Raises ValueError, before the first step, when the problem does not have the samples that this takes.
    """

    size: int
    sampling: Sampling = "epoch"

    def __post_init__(self) -> None:
        if self.sampling not in get_args(Sampling):
            raise ValueError(f"sampling must be one of {', '.join(get_args(Sampling))}, got {self.sampling!r}")
        try:
            require_count("batch_size", self.size)
        except ValueError as error:
            raise ValueError(f"{error}; sweep it with static=['batch_size']") from None

    def per_epoch(self, problem: Problem) -> int:
        self.draw(problem)
        # pyrefly: ignore[unnecessary-type-conversion]
        return max(1, problem.n_samples // int(self.size))

    def draw(self, problem: Problem) -> Draw:
        """The stream of indices."""
        # pyrefly: ignore[unnecessary-type-conversion]
        n, size, strata = problem.n_samples, int(self.size), problem.strata
        if n == 0:
            raise ValueError(f"batch_size was given, but {type(problem).__name__} has no samples; leave it out")
        if self.sampling != "replacement" and size > n:
            raise ValueError(f"batch_size must be at most the number of samples {n}, got {size}")
        if strata and (self.sampling != "replacement" or size % len(strata)):
            raise ValueError(
                f"a problem with {len(strata)} strata needs sampling='replacement' and a batch_size that they divide, "
                f"got sampling={self.sampling!r} and batch_size={size}"
            )
        if strata:
            return Stratified("batches", strata, size // len(strata))
        if self.sampling == "replacement":
            return Integers("batches", n, (size,))
        return (Epochs if self.sampling == "epoch" else Subsets)("batches", n, size)

    def oracle(self, moment: Moment) -> SampleOracle:
        return SampleOracle(self, moment, gather(moment.problem.data, moment.draws.row(self.draw(moment.problem))))

    def outcomes(self, problem: Problem, most: int) -> Outcomes:
        """All subsets ("tau-nice") or all tuples ("replacement"), equally likely.

        Raises ValueError where there are more than `most`, and where steps are not independent and alike.
        """
        draw, n = self._independent(problem, "outcomes"), problem.n_samples
        # pyrefly: ignore[unnecessary-type-conversion]
        size = int(self.size)
        subsets = self.sampling == "tau-nice"
        _refuse_too_many(math.comb(n, size) if subsets else n**size, most)
        listed = itertools.combinations(range(n), size) if subsets else itertools.product(range(n), repeat=size)
        rows = torch.tensor(list(listed))
        return Outcomes(draw, rows, torch.full((len(rows),), 1 / len(rows), dtype=torch.float64))

    def second_moment(self, problem: Problem) -> SecondMoment:
        """Of tau of n samples: 1/(tau n) and 1 - 1/tau for independent ones; for subsets (n - tau)/(tau (n - 1) n) and
        n (tau - 1)/(tau (n - 1)) (arXiv:2503.02225, Section 3.1).
        """
        self._independent(problem, "second moment")
        # pyrefly: ignore[unnecessary-type-conversion]
        n, tau = problem.n_samples, int(self.size)
        # Of n = 1 sample every subset is the whole.
        left = (n - tau) / max(n - 1, 1) if self.sampling == "tau-nice" else 1.0
        return SecondMoment(torch.full((n,), left / (tau * n), dtype=torch.float64), 1 - left / tau)

    def _independent(self, problem: Problem, what: str) -> Draw:
        draw = self.draw(problem)
        if self.sampling == "epoch" or problem.strata:
            raise ValueError(
                f"the {what} of one step need steps that are independent and alike: sampling must be 'tau-nice' or "
                f"'replacement' of a problem without strata, got {self.sampling!r}"
            )
        return draw


@dataclass(frozen=True, eq=False)
class Importance(Source):
    """`size` independent samples a step, sample i with probability p_i (p is divided by its sum; it may be swept).

    weighted: each sample's loss is multiplied by 1/(n p_i), so that the mean gradient is that of the loss; without it the
    expected loss is sum_i p_i loss_i (edges of a gossip, say).
    """

    p: Float[Tensor, " sample"]
    size: int = 1
    weighted: bool = True

    def __post_init__(self) -> None:
        require_count("size", self.size)
        smallest = concrete(self.p.min())
        if self.p.dim() != 1 or (smallest is not None and not smallest >= 0):
            raise ValueError(f"p must be a vector of probabilities >= 0, one per sample, got {self.p!r}")

    @property
    def draw(self) -> Uniform:
        """The stream of places on [0, 1), which the cumulative probabilities turn into indices."""
        # pyrefly: ignore[unnecessary-type-conversion]
        return Uniform("importance", (int(self.size),))

    def oracle(self, moment: Moment) -> SampleOracle:
        problem = moment.problem
        if self.p.shape[0] != problem.n_samples:
            raise ValueError(
                f"p has {self.p.shape[0]} entries and {type(problem).__name__} {problem.n_samples} samples"
            )
        chances = self.p / self.p.sum()
        chance = moment.draws.row(self.draw).to(chances.device)
        # The first index whose cumulative sum is above; rounding may leave the last sum just below 1. (torch.searchsorted
        # warns of a copy that it makes itself under vmap.)
        indices = (chances.cumsum(0) <= chance.to(chances.dtype)[:, None]).sum(1)
        indices = indices.clamp(max=problem.n_samples - 1)
        weights = 1 / (problem.n_samples * chances[indices]) if self.weighted else None
        return SampleOracle(self, moment, gather(problem.data, indices), weights)

    def outcomes(self, problem: Problem, most: int) -> Outcomes:
        """All tuples of samples of probability > 0. Raises ValueError where there are more than `most`."""
        chances = self.p / self.p.sum()
        seen = chances > 0
        # pyrefly: ignore[unnecessary-type-conversion]
        size = int(self.size)
        _refuse_too_many(int(seen.sum()) ** size, most)
        # The middle of each sample's interval of [0, 1).
        places = (chances.cumsum(0) - chances / 2)[seen].expand(size, -1)
        tuples = [torch.cartesian_prod(*one).reshape(-1, size) for one in (places, chances[seen].expand(size, -1))]
        return Outcomes(self.draw, tuples[0].double(), tuples[1].double().prod(1))

    def second_moment(self, problem: Problem) -> SecondMoment:
        """1/(tau n^2 p_i) and 1 - 1/tau for tau = `size`. Raises ValueError where the mean gradient is not that of the loss."""
        chances = self.p.double() / self.p.double().sum()
        if not self.weighted or not (chances > 0).all():
            raise ValueError(
                "the gradient is biased: E g = sum_i p_i grad f_i without weights, and samples of probability 0 are never "
                "seen; give weighted=True and probabilities > 0"
            )
        n = len(chances)
        return SecondMoment(1 / (self.size * n**2 * chances), 1 - 1 / self.size)


@dataclass(frozen=True, eq=False)
class Stream(Source):
    """Fresh samples at every step: `sample(draws) -> batch`, a tuple of tensors as in `problem.data`, made of named draws such
    as `draws.normal("inputs", (size, d))`.
    """

    sample: Callable[[Draws], Batch]

    def oracle(self, moment: Moment) -> SampleOracle:
        return SampleOracle(self, moment, self.sample(moment.draws))


def _refuse_too_many(count: int, most: int) -> None:
    if count > most:
        raise ValueError(
            f"one step has {count:,} outcomes, more than most={most:,}: take fewer samples, a smaller size, or more of most"
        )


def gather(data: Batch, indices: Tensor) -> Batch:
    """The samples of these indices."""
    # Under vmap less than half the time of index_select, which becomes a gather of single entries.
    return tuple(tensor[indices] for tensor in data)


def altered(oracle: Oracle, source: Source, batch: Callable[[Batch], Batch], asker: str) -> SampleOracle:
    """The oracle with other samples in place of its own, made of them."""
    if not isinstance(oracle, SampleOracle):
        raise NotProvided(
            "a gradient", f"{asker} changes samples, and {type(oracle.source).__name__} does not show them"
        )
    samples: Any = oracle.moment.problem.data if oracle.batch is None else oracle.batch
    if not samples:
        raise NotProvided("a gradient", f"{asker} changes samples, and the problem has none")
    return replace(oracle, source=source, batch=batch(samples))
