"""SWAD's average decided on the way (arXiv:2102.08604): the window of `loss_valley` without keeping every segment."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from workbench.checks import refuse_outside
from workbench.optimizers.averaging.accumulators import accumulator, has_mean, towards
from workbench.optimizers.averaging.loss_valley import warn_unless
from workbench.parameters import Parameters, leaves, tree_map


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

    >>> import torch
    >>> import workbench as wb
    >>> swad = wb.optimizers.SWAD(n_converge=1, n_tolerance=1)
    >>> state = swad.init(torch.tensor([0.0]))
    >>> for iterate, loss in ((2.0, 1.0), (4.0, 1.0), (9.0, 5.0)):
    ...     state = swad.observe(loss, swad.update(torch.tensor([iterate]), state))
    >>> swad.value(state)
    tensor([3.])
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
            accumulator(parameters),
            tree_map(lambda x: torch.zeros((self._places, *x.shape), dtype=x.dtype), accumulator(parameters)),
            torch.zeros(self.n_converge, dtype=torch.float64),
            torch.zeros(2, dtype=torch.int64),
            torch.full((), torch.inf, dtype=torch.float64),
            torch.zeros((), dtype=torch.bool),
            torch.zeros((), dtype=torch.bool),
        )

    def update(self, parameters: Parameters, state: SWADState) -> SWADState:
        """One more iterate for the current segment."""
        count = state.count + 1
        segment = towards(state.segment, parameters, 1.0 / count.double())
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
        """The average; without convergence the mean of the last segment. Warns unless the valley has closed."""
        warn_unless(state.converged, state.closed, "the average")
        waiting = torch.where(state.closed, 0, 1)
        number = torch.clamp(state.held[0] + waiting * state.held[1], min=1)

        def mean(sums: Tensor, segment: Tensor) -> Tensor:
            if not has_mean(segment):
                return segment
            window = (sums[0] + waiting * sums[1]) / number.to(sums.dtype)
            return torch.where(state.converged, window, segment.cpu()).to(segment.device)

        return tree_map(mean, state.sums, state.segment)

    def _search(self, loss: Tensor, segment: Parameters, state: SWADState) -> SWADState:
        """Before convergence. A start fails when a smaller loss comes; all between are no smaller, so they fail too."""
        held, number, place = state.held[0], torch.arange(self.n_converge), torch.arange(self._places)
        anew = (held == 0) | (loss < state.losses[0])
        position = torch.where(anew, 0, held)
        losses = torch.where(number == position, loss, state.losses)
        usable = loss.isfinite()
        converged = usable & (position == self.n_converge - 1)
        threshold = self.tolerance * losses.sum() / self.n_converge
        below = torch.where(losses <= threshold, number, 0).amax()
        # A row above the threshold counts in full only once it ends after the convergence.
        inside = torch.clamp(below, min=self.n_converge - self.n_tolerance)

        def add(sums: Tensor, segment: Tensor) -> Tensor:
            if not has_mean(segment):
                return sums

            def at(wanted: Tensor) -> Tensor:
                return (place == wanted).reshape(-1, *(1 for _ in segment.shape))

            whole = torch.where(at(position - 1), sums, 0.0).sum(0) + segment
            main = torch.where(inside == position, whole, torch.where(at(inside), sums, 0.0).sum(0))
            split = torch.stack([main, whole - main, *([torch.zeros_like(main)] * (self._places - 2))])
            return torch.where(converged, split, torch.where(at(position), whole, sums))

        count = torch.where(
            converged,
            torch.stack([inside + 1, self.n_converge - 1 - inside]),
            torch.where(usable, torch.stack([position + 1, torch.zeros_like(position)]), 0),
        )
        return state._replace(
            sums=tree_map(add, state.sums, segment), losses=losses, held=count,
            threshold=torch.where(converged, threshold, torch.inf), converged=converged,
        )  # fmt: skip

    def _follow(self, loss: Tensor, segment: Parameters, state: SWADState) -> SWADState:
        """After convergence: a segment below the threshold brings in those that wait."""
        below = loss <= state.threshold  # not so for NaN
        waiting = state.held[1] + 1

        def add(sums: Tensor, segment: Tensor) -> Tensor:
            if not has_mean(segment):
                return sums
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
