"""One evaluation of the largest eigenvalues, from what the last one left."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import draws
from workbench.curvature.scales import norm
from workbench.draws import Seed

from .space import Space, anywhere

_TOLERANCE, _TURNED = 0.005, 0.001
"""Estimated relative error at which an evaluation stops; the second where the vectors have turned so far since the last one
that the estimate's gap belongs to others."""
_FAR = 0.2
"""Residual (relative) of the last vectors that counts as turned."""
_GUARD = 0.05
"""The same for the next eigenvalue, which is there to be known when it crosses the last one wanted."""
MOST, _SEARCH, FIRST = 8, 24, 36
"""Products of one evaluation (and k - 1 more); of a search beside it; of the first evaluation. Usually it takes 5 to 12."""
_LEVEL, _MISS = 0.03, 0.01
"""A search ends where an unseen eigenvalue above the k-th by this (relative) has at most this chance."""
_NOISE = 0.25
"""Usual change of the probe's image (over the k-th value) above which it tells little, and is looked at in every fourth
evaluation only."""
_MEAN, _QUIET_MEAN = 2.95, 3.25
"""Mean number of products per evaluation (and k - 1 more) up to which spare ones are spent on searches; the second where the
probe tells much, which costs one in each."""
_MOST_MEAN = 4.0
"""The same up to which they are spent on looks along the probe's change."""


class Plan(NamedTuple):
    """How many eigenvalues, the seed of all searches, and at which evaluations there is one anyway."""

    k: int
    seed: Seed
    check_every: int


class Tracked(NamedTuple):
    """Eigenvalues at one point of a run.

    Attributes:
        values: [eigenvalue], largest first.
        residuals: [eigenvalue] norms |H v - value v|: within each lies an eigenvalue.
        products: Hessian-vector products used.
        searched: whether a random start looked for eigenvalues that the last vectors do not see.

    >>> import torch
    >>> import workbench as wb
    >>> valley, x = wb.problems.quadratic([1.0, 4.0]), torch.ones(2).double()
    >>> found = wb.curvature.Tracker()(valley.loss, x)
    >>> round(found.values.item(), 6), bool(found.searched)  # the first evaluation starts at random
    (4.0, True)
    """

    values: Float[Tensor, " eigenvalue"]
    residuals: Float[Tensor, " eigenvalue"]
    products: Int[Tensor, ""]
    searched: Bool[Tensor, ""]


class Memory(NamedTuple):
    """What one evaluation leaves to the next."""

    history: Float[Tensor, "4 row parameter"]
    """The k + 1 vectors of the last four evaluations, newest first."""
    overlap: Float[Tensor, "guess row"]
    """How well each guess of them would have done this time."""
    level: Float[Tensor, ""]
    """|k-th value|."""
    probe: Float[Tensor, " parameter"]
    reference: Float[Tensor, " parameter"]
    """Its image, outside of the vectors, at the last search."""
    before: Float[Tensor, " parameter"]
    """The same when it was last looked at."""
    usual: Float[Tensor, ""]
    """How far that usually moves."""
    rest: Float[Tensor, ""]
    """The largest eigenvalue seen beyond the k + 1 at the last search."""
    spare: Float[Tensor, ""]
    """Products left for searches."""
    left: Float[Tensor, ""]
    """Products left for looks along changes."""


class Evaluation:
    """One evaluation. Numbers inside are over the space's unit, those in the memory are not."""

    def __init__(self, plan: Plan, number: int, product: Callable[[Tensor], Tensor], like: Tensor) -> None:
        self.plan, self.k, self.number, self.like = plan, plan.k, number, like
        self.space = Space(product, like)
        self.always = torch.ones((), dtype=torch.bool, device=like.device)

    def from_(self, memory: Memory | None) -> tuple[Tracked, Memory]:
        if memory is None:
            probe, image = self._search(self.always, FIRST)
            self._refine(self.always, FIRST + MOST, _TOLERANCE)
            return self._first(probe, image)
        self._follow(memory)
        memory, check = self._look(memory)
        if anywhere(check):
            probe, image = self._search(check, _SEARCH)
            self._refine(check, FIRST + MOST, _TOLERANCE)
            memory = self._referred(memory, probe, image, check)
        return self._left(memory, check)

    def _first(self, probe: Tensor, image: Tensor) -> tuple[Tracked, Memory]:
        vectors = self.space.ritz(self.k + 1).vectors
        if len(vectors) <= self.k:
            vectors = torch.cat([vectors, vectors.new_zeros(self.k + 1 - len(vectors), vectors.shape[1])])
        zero, none = self.like.new_zeros(()), torch.zeros_like(self.like)
        never = torch.full_like(zero, torch.inf)
        overlap = torch.zeros(4, self.k + 1, dtype=self.like.dtype, device=self.like.device)
        empty = Memory(vectors.repeat(4, 1, 1), overlap, zero, none, none, none, never, zero, zero, zero)
        memory = self._referred(empty, probe, image, self.always)
        return self._left(memory, self.always)

    def _follow(self, memory: Memory) -> None:
        """The space of the last vectors, until the estimated errors are small."""
        space, k = self.space, self.k
        guesses = _guesses(memory.history)
        chosen = torch.nn.functional.one_hot(memory.overlap.argmax(0), len(guesses)).to(guesses.dtype)
        for vector in torch.einsum("ij,jip->ip", chosen, guesses):
            space.add(vector, self.always, 1.0)
        ritz = space.ritz(k)
        turned = ritz.norms.amax() > _FAR * ritz.values[0].abs()
        self._refine(self.always, k + MOST, torch.where(turned, _TURNED, _TOLERANCE))
        active = self.always
        for _ in range(2):
            ritz = space.ritz(k + 1)
            last, value, off, size = ritz.values[k - 1], ritz.values[k], ritz.norms[k], ritz.values[k - 1].abs()
            error = torch.minimum(off, off.square() / torch.where(size > 0, 0.2 * size, 1.0))
            active = active & (value + off > last - 0.05 * size) & (error > _GUARD * size)
            if not anywhere(active):
                return
            space.add(ritz.residuals[k], active, space.scale)

    def _look(self, memory: Memory) -> tuple[Memory, Bool[Tensor, ""]]:
        """Whether something may have changed that the vectors do not see."""
        space, number = self.space, self.number
        last = space.ritz(self.k).values[self.k - 1] * space.unit
        level, size = last + _LEVEL * last.abs(), torch.maximum(last.abs(), memory.level)
        quiet = ~(memory.usual > _NOISE * size)
        looking = quiet | (number % 4 == 0)
        check = (memory.rest > level) | (memory.spare >= 10.0) | (number % self.plan.check_every == 0)
        if anywhere(looking):
            image = space.image(memory.probe, looking)
            seen = space.outside(memory.probe, image) * space.unit
            step, drift = norm(seen - memory.before), norm(seen - memory.reference)
            jump = (step > 4 * memory.usual) & (memory.rest + 10 * step > level) | (step > 50 * memory.usual)
            risen = quiet & (memory.rest + 2 * drift > level)
            self._along(seen - memory.reference, looking & risen & (memory.left >= 0))
            risen = risen & (memory.spare >= 0)
            check = check | (looking & (jump | risen))
            learnt = torch.where(
                torch.isinf(memory.usual), step, 0.9 * memory.usual + 0.1 * torch.minimum(step, 4 * memory.usual)
            )
            memory = memory._replace(
                before=torch.where(looking, seen, memory.before), usual=torch.where(looking, learnt, memory.usual)
            )
        allowed = torch.where(quiet, _QUIET_MEAN, _MEAN) + self.k - 1
        return memory._replace(spare=memory.spare + allowed), check

    def _along(self, change: Tensor, active: Bool[Tensor, ""]) -> None:
        """Look where the probe's image has moved since the last search: if few eigenvalues rose, along their eigenvectors."""
        space = self.space
        if anywhere(active):
            space.add(change / space.unit, active, space.scale)
            self._refine(active, space.rows + self.k + MOST, _TOLERANCE)

    def _search(self, active: Bool[Tensor, ""], most: int) -> tuple[Tensor, Tensor]:
        """Lanczos from a random start outside of the space, until nothing above the k-th value is likely. Returns the start and
        its image.
        """
        space, k, first = self.space, self.k, self.space.rows
        start = draws.normal(self.plan.seed, (self.like.numel(),), stream="along", counter=self.number).to(self.like)
        image = space.image(start, active)
        outside = space.orthogonal(start)
        length = outside.norm()
        used = active & (length > 0)
        inverse = torch.where(used, 1 / torch.where(used, length, 1.0), 0.0)
        # What the space does to its own part of the start is known.
        space.take(outside * inverse, (image - (space.basis @ start) @ space.images) * inverse, used)
        for _ in range(min(most, self.like.numel())):
            values, _ = space.values()
            if space.rows > k:
                last = values[k - 1]
                active = active & (space.chance_of_missing(first, last + _LEVEL * last.abs()) > _MISS)
            if not anywhere(active):
                break
            space.add(space.following, active, space.scale)
            active = active & space.used[-1]
        return start, image

    def _refine(self, active: Bool[Tensor, ""], most: int, tolerance: float | Tensor) -> None:
        """Multiply the worst residual of the k values until the estimated errors are below the tolerance."""
        space, k = self.space, self.k
        while space.rows < most:
            ritz = space.ritz(k + 1)
            values, norms = ritz.values[:k], ritz.norms[:k]
            gap = torch.maximum(values - ritz.values[-1], 0.05 * values[0].abs())
            floor = torch.maximum(values.abs(), 0.01 * space.scale)
            errors = torch.where(norms > 0, torch.minimum(norms, norms.square() / gap) / floor, 0.0)
            active = active & (errors.amax() > tolerance)
            if not anywhere(active):
                return
            worst = torch.nn.functional.one_hot(errors.argmax(), len(norms)).to(norms.dtype)
            space.add(worst @ ritz.residuals[:k], active, space.scale)

    def _referred(self, memory: Memory, probe: Tensor, image: Tensor, check: Bool[Tensor, ""]) -> Memory:
        """A new probe, where a search made one: its image outside of what was found, and what else was seen."""
        space, k = self.space, self.k
        ritz = space.ritz(k + 1)
        seen = image - (ritz.values * (ritz.vectors @ probe)) @ ritz.vectors
        seen = (seen - (ritz.vectors @ seen) @ ritz.vectors) * space.unit
        values, _ = space.values()
        rest = values[min(k + 1, len(values) - 1)] * space.unit

        def where(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(check, new, old)

        return memory._replace(
            probe=where(probe, memory.probe),
            reference=where(seen, memory.reference),
            before=where(seen, memory.before),
            rest=where(rest, memory.rest),
        )

    def _left(self, memory: Memory, check: Bool[Tensor, ""]) -> tuple[Tracked, Memory]:
        space, k = self.space, self.k
        ritz = space.ritz(k + 1)
        values, residuals = ritz.values[:k] * space.unit, ritz.norms[:k]
        rounding = 4 * torch.finfo(values.dtype).eps * space.scale
        honest = torch.sqrt(residuals.square() + rounding.square()) * space.unit
        found = Tracked(values, honest, space.products, check)
        vectors = ritz.vectors
        if len(vectors) <= k:
            vectors = torch.cat([vectors, memory.history[0, len(vectors) :]])
        # Where nothing is finite, the next evaluation searches again.
        finite = torch.isfinite(values).all()
        history, overlap = _remembered(memory.history, torch.where(finite, vectors, 0.0))
        first = self.number == 0
        spare = torch.zeros_like(memory.spare) if first else (memory.spare - space.products).clamp(-8.0, 16.0)
        return found, memory._replace(
            history=vectors.repeat(4, 1, 1) if first else history,
            overlap=torch.zeros_like(overlap) if first else overlap,
            level=torch.where(finite, values[k - 1].abs(), 0.0),
            rest=torch.where(finite, memory.rest, torch.inf),
            before=torch.where(finite, memory.before, 0.0),
            reference=torch.where(finite, memory.reference, 0.0),
            usual=torch.where(finite, memory.usual, torch.inf),
            spare=spare,
            left=(memory.left + _MOST_MEAN + k - 1 - space.products).clamp(-8.0, 8.0) if not first else spare,
        )


def _guesses(history: Float[Tensor, "4 row parameter"]) -> Float[Tensor, "guess row parameter"]:
    """Where the vectors may be now: where they were, on along their last move, where they were two evaluations ago, and on along
    the move of every second one.
    """
    last, before, _, fourth = history
    return torch.nn.functional.normalize(torch.stack([last, 2 * last - before, before, 2 * before - fourth]), dim=2)


def _remembered(history: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    overlap = (_guesses(history) * vectors).sum(2).abs()
    # The sign of an eigenvector says nothing.
    signs = torch.where((history[:3] * vectors).sum(2, keepdim=True) < 0, -1.0, 1.0)
    return torch.cat([vectors[None], signs * history[:3]]), overlap
