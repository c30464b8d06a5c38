"""Averages of the weights along a run, as pure accumulators: SWA, EMA, LAWA, and SWAD's segments.

An accumulator is three pure functions, `init(parameters) -> state`, `update(parameters, state) -> state` after every
step, `value(state) -> parameters`. They run in any training loop, under `torch.func.vmap`, and inside `wb.run(...,
average={"ema": EMA(0.99)})`.

Sums are kept in float32 at least, whatever the parameters' type, and the averages come in that type: a mean of bfloat16
weights in bfloat16 would stop moving once its steps are smaller than its last digit. `module.load_state_dict` turns them
back. Entries of a state dict that are whole numbers or truth values (`num_batches_tracked`) have no mean: the latest one
taken in is kept.

Memory: EMA, UniformMean and SegmentMean hold one copy of the parameters, LAWA its k checkpoints, `SWAD` one copy where the
parameters lie and max(n_converge - 1, 2) in main memory; their docstrings say why.

>>> import torch
>>> mean = UniformMean()
>>> state = mean.init(torch.tensor([5.0]))
>>> for iterate in (1.0, 2.0, 6.0):
...     state = mean.update(torch.tensor([iterate]), state)
>>> mean.value(state)
tensor([3.])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.checks import refuse_outside, require_count
from workbench.parameters import Parameters, leaves, tree_map


class AverageState(NamedTuple):
    """Updates seen, and what is kept of the parameters."""

    count: Int[Tensor, ""]
    kept: Parameters


@runtime_checkable
class Average(Protocol):
    """What an accumulator offers."""

    def init(self, parameters: Parameters) -> AverageState:
        """The state before the first step."""
        ...

    def update(self, parameters: Parameters, state: AverageState) -> AverageState:
        """The state with one more iterate."""
        ...

    def value(self, state: AverageState) -> Parameters:
        """The average."""
        ...


@dataclass(frozen=True)
class EMA:
    """mean+ = decay mean + (1 - decay) x, from the initial parameters, without warm-up or correction of the bias.

    >>> import torch
    >>> import workbench as wb
    >>> ema = wb.optimizers.EMA(0.5)
    >>> state = ema.init(torch.tensor([0.0]))
    >>> for iterate in (1.0, 2.0):
    ...     state = ema.update(torch.tensor([iterate]), state)
    >>> ema.value(state)
    tensor([1.2500])
    """

    decay: float | Tensor

    def __post_init__(self) -> None:
        refuse_outside("decay", self.decay, lower=0.0, upper=1.0, open_upper=True)

    def init(self, parameters: Parameters) -> AverageState:
        return AverageState(_zero(parameters), accumulator(parameters))

    def update(self, parameters: Parameters, state: AverageState) -> AverageState:
        return AverageState(state.count + 1, towards(state.kept, parameters, 1.0 - self.decay))

    def value(self, state: AverageState) -> Parameters:
        return state.kept


@dataclass(frozen=True)
class UniformMean:
    """SWA (arXiv:1803.05407): the mean of the iterates start + 1, start + 1 + every, ...; `every=1` is dense averaging.

    Until the first of them, the value is the latest iterate.

    >>> import torch
    >>> import workbench as wb
    >>> swa = wb.optimizers.UniformMean(start=1)
    >>> state = swa.init(torch.tensor([0.0]))
    >>> for iterate in (9.0, 2.0, 4.0):
    ...     state = swa.update(torch.tensor([iterate]), state)
    >>> swa.value(state)
    tensor([3.])
    """

    start: int | Tensor = 0
    every: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.start, Tensor):
            require_count("start", self.start, 0)
        require_count("every", self.every, 1)

    def init(self, parameters: Parameters) -> AverageState:
        return AverageState(_zero(parameters), accumulator(parameters))

    def update(self, parameters: Parameters, state: AverageState) -> AverageState:
        count = state.count + 1
        past = count - 1 - self.start
        taken = (past % self.every == 0) | (past < 0)
        number = 1 + torch.clamp(past, min=0) // self.every
        return AverageState(count, towards(state.kept, parameters, torch.where(taken, 1.0 / number.double(), 0.0)))

    def value(self, state: AverageState) -> Parameters:
        return state.kept


@dataclass(frozen=True)
class SegmentMean:
    """The mean of the iterates since the last evaluation, where evaluations come after `first`, `first + every`, ... steps.

    SWAD's building block: at each evaluation the value is the mean of one segment, and the mean of the segments of a window
    (each of `every` iterates) is the mean of all its iterates. See `loss_valley` for the window.

    >>> import torch
    >>> import workbench as wb
    >>> segment = wb.optimizers.SegmentMean(every=2)
    >>> state = segment.init(torch.tensor([0.0]))
    >>> for iterate in (9.0, 9.0, 2.0, 4.0):
    ...     state = segment.update(torch.tensor([iterate]), state)
    >>> segment.value(state)
    tensor([3.])
    """

    every: int
    first: int | None = None

    def __post_init__(self) -> None:
        require_count("every", self.every, 1)
        if self.first is not None:
            require_count("first", self.first, 1)

    def init(self, parameters: Parameters) -> AverageState:
        return AverageState(_zero(parameters), accumulator(parameters))

    def update(self, parameters: Parameters, state: AverageState) -> AverageState:
        count, first = state.count + 1, self.every if self.first is None else self.first
        number = torch.where(count <= first, count, (count - first - 1) % self.every + 1)
        return AverageState(count, towards(state.kept, parameters, 1.0 / number.double()))

    def value(self, state: AverageState) -> Parameters:
        return state.kept


@dataclass(frozen=True)
class LAWA:
    """Latest weight averaging (arXiv:2209.14981): the mean of the last `k` checkpoints, one every `every` steps.

    Checkpoints are the iterates `first`, `first + every`, ...; before k of them exist, the mean of those there are, and
    before the first the initial parameters. Holds k copies of the parameters: every checkpoint leaves the mean again, alone,
    so that each must be known until then. For the mean at one step T known beforehand one copy is enough:
    `UniformMean(start=T - (k - 1) * every - 1, every=every)`.

    >>> import torch
    >>> import workbench as wb
    >>> lawa = wb.optimizers.LAWA(k=2, every=1)
    >>> state = lawa.init(torch.tensor([0.0]))
    >>> for iterate in (9.0, 2.0, 4.0):
    ...     state = lawa.update(torch.tensor([iterate]), state)
    >>> lawa.value(state)
    tensor([3.])
    """

    k: int
    every: int
    first: int | None = None

    def __post_init__(self) -> None:
        require_count("k", self.k, 1)
        require_count("every", self.every, 1)
        if self.first is not None:
            require_count("first", self.first, 1)

    def init(self, parameters: Parameters) -> AverageState:
        kept = tree_map(lambda leaf: leaf.detach().expand(self.k, *leaf.shape).clone(), parameters)
        return AverageState(_zero(parameters), kept)

    def update(self, parameters: Parameters, state: AverageState) -> AverageState:
        count, taken = state.count + 1, self._taken(state.count + 1)
        due = taken > self._taken(state.count)
        # The first checkpoint fills all places, so that the mean is one of checkpoints only.
        places = torch.arange(self.k, device=count.device)
        here = due & ((places == (taken - 1) % self.k) | (taken == 1))

        def put(kept: Tensor, leaf: Tensor) -> Tensor:
            return torch.where(here.reshape(-1, *(1 for _ in leaf.shape)), leaf.detach(), kept)

        return AverageState(count, tree_map(put, state.kept, parameters))

    def value(self, state: AverageState) -> Parameters:
        number = torch.clamp(self._taken(state.count), min=1, max=self.k)
        held = torch.arange(self.k, device=state.count.device) < number

        latest = (
            torch.arange(self.k, device=state.count.device) == torch.clamp(self._taken(state.count) - 1, min=0) % self.k
        )

        def mean(kept: Tensor) -> Tensor:
            def only(chosen: Tensor) -> Tensor:
                return torch.where(chosen.reshape(-1, *(1 for _ in kept.shape[1:])), kept, torch.zeros_like(kept))

            if not has_mean(kept):
                return only(latest).sum(0).to(kept.dtype)
            return only(held).sum(0, dtype=wide(kept.dtype)) / number

        return tree_map(mean, state.kept)

    def _taken(self, count: Tensor) -> Tensor:
        first = self.every if self.first is None else self.first
        return torch.clamp((count - first) // self.every + 1, min=0)


def _zero(parameters: Parameters) -> Tensor:
    return torch.zeros((), dtype=torch.int64, device=leaves(parameters)[0].device)


def has_mean(leaf: Tensor) -> bool:
    """Whether means of such entries are of the same kind: not so for counters and masks."""
    return leaf.is_floating_point() or leaf.is_complex()


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which such entries are summed."""
    return {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}.get(
        dtype, dtype
    )


def accumulator(parameters: Parameters) -> Parameters:
    """A copy of the parameters in the types in which they are summed."""
    return tree_map(lambda leaf: leaf.detach().to(wide(leaf.dtype), copy=True), parameters)


def towards(mean: Parameters, parameters: Parameters, weight: float | Tensor) -> Parameters:
    """`mean + weight (parameters - mean)`, exactly `parameters` for weight 1; counters are the latest of weight > 0."""

    def one(m: Tensor, x: Tensor) -> Tensor:
        x = x.detach().to(m.dtype)
        if not has_mean(m):
            return torch.where(torch.as_tensor(weight, device=m.device) > 0, x, m)
        return torch.lerp(m, x, weight.to(m.dtype) if isinstance(weight, Tensor) else weight)

    return tree_map(one, mean, parameters)
