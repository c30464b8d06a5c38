"""SWAD's window (arXiv:2102.08604, algorithm 1): average from where the validation loss first stops improving to where it
overfits.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from workbench.optimizers.rule import refuse_outside
from workbench.parameters import Parameters, leaves, tree_map

Variant = Literal["paper", "released"]


class LossValley(NamedTuple):
    """The window over the evaluations 0..T-1 and the weights of their segments.

    `start` and `end` are the first and last evaluation of the window of algorithm 1. Without convergence both are T - 1,
    and the threshold is infinite. `closed` says that the loss left the valley before training ended.
    """

    weights: Float[Tensor, " evaluation"]
    start: Int[Tensor, ""]
    end: Int[Tensor, ""]
    threshold: Float[Tensor, ""]
    converged: Bool[Tensor, ""]
    closed: Bool[Tensor, ""]


def loss_valley(
    losses: Float[Tensor, " evaluation"],
    n_converge: int = 3,
    n_tolerance: int = 6,
    tolerance: float | Tensor = 1.3,
    variant: Variant = "paper",
) -> LossValley:
    """The evaluations whose segments SWAD averages, from the validation losses. Runs under `torch.func.vmap`.

    The window starts at the first evaluation that is no larger than the next `n_converge - 1` ones. The threshold is
    `tolerance` times the mean of these `n_converge` losses. After them, the first time that `n_tolerance` losses in a row
    lie above it, the window ends just before the row; otherwise it goes on to the end of training. A loss that never
    converges gets weight 1 on its last segment.

    variant: "released" weights the segments as the published code does: it reaches back before the start while the loss
        is below the threshold, may count the first segments more than once, and drops the tail above the threshold.
    Raises ValueError for fewer losses than `n_converge` or an argument out of range.

    >>> loss_valley(torch.tensor([3.0, 1.0, 1.1, 1.2, 2.0, 2.0, 2.0]), 3, 2, 1.3).weights
    tensor([0.0000, 0.3333, 0.3333, 0.3333, 0.0000, 0.0000, 0.0000])
    """
    total = losses.shape[-1]
    for name, value in (("n_converge", n_converge), ("n_tolerance", n_tolerance)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an int >= 1, got {value!r}")
    if total < n_converge:
        raise ValueError(f"losses holds {total} evaluations, fewer than n_converge={n_converge}; evaluate more often")
    refuse_outside("tolerance", tolerance, lower=1.0, open_lower=True)
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")

    windows = losses.unfold(-1, n_converge, 1)
    settles = windows[:, 0] <= windows.amin(-1)
    converged, first = settles.any(), settles.to(torch.int64).argmax()
    chosen = (torch.arange(len(settles), device=losses.device) == first)[:, None]
    threshold = torch.where(converged, tolerance * torch.where(chosen, windows, 0.0).sum() / n_converge, torch.inf)

    number = torch.arange(total, device=losses.device)
    # A row of n_tolerance losses needs as many evaluations: the padding lies below every threshold.
    padded = torch.cat([losses.new_full((n_tolerance - 1,), -torch.inf), losses])
    overfit = (padded.unfold(-1, n_tolerance, 1).amin(-1) > threshold) & (number >= first + n_converge)
    closed = converged & overfit.any()
    last = torch.where(closed, overfit.to(torch.int64).argmax() - n_tolerance, total - 1)
    start = torch.where(converged, first, total - 1)
    if variant == "paper":
        counts = ((number >= start) & (number <= last)).to(losses.dtype)
    else:
        counts, closed = _released(losses, n_converge, n_tolerance, first, threshold)
        counts = torch.where(converged, counts, (number == total - 1).to(losses.dtype))
        closed = converged & closed
    return LossValley(counts / counts.sum(), start, last, threshold, converged, closed)


def _released(
    losses: Tensor, n_converge: int, n_tolerance: int, start: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """How often the published code adds each segment, and whether its valley closed.

    It keeps a queue of the last n_tolerance segments. At convergence it adds some of the queue; from then on, at each
    evaluation, the oldest of the queue once that is not older than the start, until all of the queue lie above the
    threshold.
    """
    total = len(losses)
    number = torch.arange(total, device=losses.device)
    settled = start + n_converge - 1
    counts = torch.zeros_like(losses)
    if n_tolerance > n_converge:
        oldest = torch.clamp(settled - n_tolerance + 1, min=0)
        newest = torch.minimum(oldest + n_tolerance - n_converge, settled)
        queued = (number >= oldest) & (number <= newest)
        above = torch.where(queued & (losses > threshold), number, -1).amax()
        kept = torch.maximum(above + 1, oldest)
        counts = counts + (queued & (number > kept))
    elif n_tolerance < n_converge:
        counts = counts + ((number > start) & (number <= start + n_converge - n_tolerance))
    oldest = torch.clamp(number - n_tolerance + 1, min=0)
    in_queue = (number[None, :] >= oldest[:, None]) & (number[None, :] <= number[:, None])
    lowest = torch.where(in_queue, losses[None, :], torch.inf).amin(-1)
    running = (number > settled) & (oldest >= start)
    dead = torch.cumsum((running & (lowest > threshold)).to(torch.int64), 0) > 0
    added = (running & ~dead).to(losses.dtype)
    counts = counts + (added[:, None] * (oldest[:, None] == number[None, :])).sum(0)
    # At the end the rest of the queue follows, as long as some loss at or after it is below the threshold.
    later = torch.flip(torch.cummin(torch.flip(losses, (0,)), 0).values, (0,))
    rest = (number > oldest[-1]) & (later <= threshold) & ~dead[-1]
    counts = counts + rest
    # Its first average is the start itself, which the first segment added replaces.
    return torch.where(counts.sum() > 0, counts, (number == start).to(losses.dtype)), dead[-1]


class SWADState(NamedTuple):
    """What `SWAD` carries. `count` and `segment` (iterates since the last evaluation, and their mean) lie where the
    parameters do, all else in main memory. `sums` has max(n_converge - 1, 2) places for sums of segment means: before
    convergence those of the first, the first two, ... segments of the window that may become the start; afterwards the
    segments that are in, and those above the threshold that wait for a later one below it.
    """

    count: Int[Tensor, ""]
    segment: Parameters
    sums: Parameters
    losses: Float[Tensor, " place"]
    held: Int[Tensor, " 2"]
    threshold: Float[Tensor, ""]
    converged: Bool[Tensor, ""]
    closed: Bool[Tensor, ""]


class SWAD:
    """Dense averaging with overfit-aware start and end, decided on the way: `loss_valley` without keeping every segment.

    `update(parameters, state)` after every step, `observe(validation_loss, state)` at every evaluation, `value(state)` at
    the end (or once `state.closed`, when training may stop). Pure and vmap-safe. Equal to the mean of the iterates in the
    window of `loss_valley(..., variant="paper")`.

    Memory: one copy of the parameters where they lie (the segment, all that a step touches), and max(n_converge - 1, 2)
    copies in main memory, touched at evaluations only: three in all for n_converge=3, where the published code holds
    n_converge + n_tolerance + 2. A segment above the threshold is in the window exactly when a later one below it comes
    before n_tolerance have passed, so that those waiting share one sum. One copy in all cannot be exact: at an evaluation
    the average may have to begin anew with the last segment or go on with all since the start, and after convergence keep
    or drop the row above the threshold. The loss that decides comes after the iterates, so that two different means must
    still be within reach, and one vector does not hold two. Until convergence the threshold is unknown too, and each of
    the first n_converge segments may turn out to be the last one in.
    """

    def __init__(self, n_converge: int = 3, n_tolerance: int = 6, tolerance: float | Tensor = 1.3) -> None:
        for name, value in (("n_converge", n_converge), ("n_tolerance", n_tolerance)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an int >= 1, got {value!r}")
        refuse_outside("tolerance", tolerance, lower=1.0, open_lower=True)
        self.n_converge, self.n_tolerance = n_converge, n_tolerance
        self.tolerance = tolerance.cpu() if isinstance(tolerance, Tensor) else tolerance
        self._places = max(n_converge - 1, 2)

    def init(self, parameters: Parameters) -> SWADState:
        """The state before the first step."""
        return SWADState(
            torch.zeros((), dtype=torch.int64, device=leaves(parameters)[0].device),
            tree_map(lambda x: x.detach().clone(), parameters),
            tree_map(lambda x: torch.zeros((self._places, *x.shape), dtype=x.dtype), parameters),
            torch.zeros(self.n_converge, dtype=torch.float64),
            torch.zeros(2, dtype=torch.int64),
            torch.full((), torch.inf, dtype=torch.float64),
            torch.zeros((), dtype=torch.bool),
            torch.zeros((), dtype=torch.bool),
        )

    def update(self, parameters: Parameters, state: SWADState) -> SWADState:
        """One more iterate for the current segment."""
        count = state.count + 1
        segment = tree_map(
            lambda m, x: torch.lerp(m, x.detach(), (1.0 / count.double()).to(m.dtype)), state.segment, parameters
        )
        return state._replace(count=count, segment=segment)

    def observe(self, validation_loss: Tensor | float, state: SWADState) -> SWADState:
        """Close the segment with the validation loss of the present iterate."""
        loss = torch.as_tensor(validation_loss).detach().to("cpu", torch.float64)
        segment = tree_map(lambda x: x.cpu(), state.segment)
        state = state._replace(count=torch.zeros_like(state.count))
        if not (is_batchedtensor(state.closed) or is_batchedtensor(state.converged)):
            if state.closed:
                return state
            return self._follow(loss, segment, state) if state.converged else self._search(loss, segment, state)
        # Under vmap one run may have converged and another not.
        searching, following = self._search(loss, segment, state), self._follow(loss, segment, state)

        def choose(name: str) -> Any:
            def one(kept: Tensor, follow: Tensor, search: Tensor) -> Tensor:
                return torch.where(state.closed, kept, torch.where(state.converged, follow, search))

            return tree_map(one, getattr(state, name), getattr(following, name), getattr(searching, name))

        decided = {name: choose(name) for name in ("sums", "losses", "held", "threshold", "converged", "closed")}
        return state._replace(**decided)

    def value(self, state: SWADState) -> Parameters:
        """The average; without convergence the mean of the last segment."""
        waiting = torch.where(state.closed, 0, 1)
        number = torch.clamp(state.held[0] + waiting * state.held[1], min=1)

        def mean(sums: Tensor, segment: Tensor) -> Tensor:
            window = (sums[0] + waiting * sums[1]) / number.to(sums.dtype)
            return torch.where(state.converged, window, segment.cpu()).to(segment.device)

        return tree_map(mean, state.sums, state.segment)

    def _search(self, loss: Tensor, segment: Parameters, state: SWADState) -> SWADState:
        """Before convergence. A start fails when a smaller loss comes; all between are no smaller, so they fail too."""
        held, number, place = state.held[0], torch.arange(self.n_converge), torch.arange(self._places)
        anew = (held == 0) | (loss < state.losses[0])
        position = torch.where(anew, 0, held)
        losses = torch.where(number == position, loss, state.losses)
        converged = position == self.n_converge - 1
        threshold = self.tolerance * losses.sum() / self.n_converge
        below = torch.where(losses <= threshold, number, 0).amax()
        # A row above the threshold counts in full only once it ends after the convergence.
        inside = torch.clamp(below, min=self.n_converge - self.n_tolerance)

        def add(sums: Tensor, segment: Tensor) -> Tensor:
            def at(wanted: Tensor) -> Tensor:
                return (place == wanted).reshape(-1, *(1 for _ in segment.shape))

            whole = torch.where(at(position - 1), sums, 0.0).sum(0) + segment
            main = torch.where(inside == position, whole, torch.where(at(inside), sums, 0.0).sum(0))
            split = torch.stack([main, whole - main, *([torch.zeros_like(main)] * (self._places - 2))])
            return torch.where(converged, split, torch.where(at(position), whole, sums))

        count = torch.where(
            converged,
            torch.stack([inside + 1, self.n_converge - 1 - inside]),
            torch.stack([position + 1, torch.zeros_like(position)]),
        )
        return state._replace(
            sums=tree_map(add, state.sums, segment), losses=losses, held=count,
            threshold=torch.where(converged, threshold, torch.inf), converged=converged,
        )  # fmt: skip

    def _follow(self, loss: Tensor, segment: Parameters, state: SWADState) -> SWADState:
        """After convergence: a segment below the threshold brings in those that wait."""
        below = loss <= state.threshold
        waiting = state.held[1] + 1

        def add(sums: Tensor, segment: Tensor) -> Tensor:
            row = sums[1] + segment
            both = torch.where(below, torch.stack([sums[0] + row, torch.zeros_like(row)]), torch.stack([sums[0], row]))
            return torch.cat([both, sums[2:]])

        held = torch.where(
            below,
            torch.stack([state.held[0] + waiting, torch.zeros_like(waiting)]),
            torch.stack([state.held[0], waiting]),
        )
        return state._replace(
            sums=tree_map(add, state.sums, segment), held=held, closed=~below & (waiting >= self.n_tolerance)
        )
