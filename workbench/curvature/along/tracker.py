"""The largest Hessian eigenvalues at every step of training, for a few products each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import draws, memory
from workbench.checks import require_count
from workbench.curvature.flat import Loss, flatten, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows, symmetrised
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm
from workbench.curvature.spectra.spectrum import symmetric_eigenvalues
from workbench.draws import Seed
from workbench.parameters import Parameters

from .space import Space, anywhere

_EXACT = 8
"""Up to this many parameters the whole matrix costs no more."""
_TOLERANCE, _TURNED = 0.005, 0.001
"""Estimated relative error at which an evaluation stops; the second where the vectors have turned so far since the last one
that the estimate's gap belongs to others."""
_FAR = 0.2
"""Residual (relative) of the last vectors that counts as turned."""
_GUARD = 0.05
"""The same for the next eigenvalue, which is there to be known when it crosses the last one wanted."""
_MOST, _SEARCH, _FIRST = 8, 24, 36
"""Products of one evaluation (and k - 1 more); of a search beside it; of the first evaluation. Usually it takes 5 to 12."""
_LEVEL, _MISS = 0.03, 0.01
"""A search ends where an unseen eigenvalue above the k-th by this (relative) has at most this chance."""
_NOISE = 0.25
"""Usual change of the probe's image (over the k-th value) above which it tells little, and is looked at in every fourth
evaluation only."""
_MEAN, _QUIET_MEAN = 2.95, 3.25
"""Mean number of products per evaluation (and k - 1 more) up to which spare ones are spent on searches; the second where the
probe tells much, which costs one in each."""


class Tracked(NamedTuple):
    """Eigenvalues at one point of a run.

    Attributes:
        values: [eigenvalue], largest first.
        residuals: [eigenvalue] norms |H v - value v|: within each lies an eigenvalue.
        products: Hessian-vector products used.
        searched: whether a random start looked for eigenvalues that the last vectors do not see.
    """

    values: Float[Tensor, " eigenvalue"]
    residuals: Float[Tensor, " eigenvalue"]
    products: Int[Tensor, ""]
    searched: Bool[Tensor, ""]


class _Memory(NamedTuple):
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


class Tracker:
    """Follows the `k` largest Hessian eigenvalues along training: call it at every step (or every few).

        tracker = wb.curvature.Tracker(seed=0)
        for parameters in run:
            found = tracker(loss, parameters)   # found.values, found.residuals, found.products

    Each evaluation starts from the last vectors, or from where the last four say they are going (at the edge of stability
    they come back every second step), and multiplies on until the estimated error of every value, the smaller of the residual
    and its square over the gap, is below 0.5 %: for one eigenvalue 2 to 4 products instead of the 40 of `sharpness`.

    That estimate does not see an eigenvalue in a direction orthogonal to all vectors. So the next eigenvalue is followed too,
    which may cross; the change of the Hessian's image of a random probe is watched for jumps; and a random start searches, as
    `top_eigenpairs` does, at the first evaluation, at every `check_every`-th (a cold check), after a jump, and whenever the
    products spared since the last time pay for it. All random numbers are of the seed and the number of the evaluation.

    Works inside `torch.func.vmap`; there the values do not depend on how many runs go along, but the time does: a chunk
    multiplies until its last run is satisfied.
    """

    def __init__(self, k: int = 1, *, seed: Seed = 0, check_every: int = 50) -> None:
        require_count("k", k)
        require_count("check_every", check_every)
        self.k, self.seed, self.check_every = int(k), seed, int(check_every)
        self.evaluations = 0
        self._memory: _Memory | None = None

    def __call__(
        self, loss: Loss, parameters: Parameters, *, root: Parameters | None = None, shift: float | Tensor = 0.0
    ) -> Tracked:
        """The eigenvalues of root (H + shift) root, H the Hessian of `loss` at `parameters`.

        `root` holds the diagonal of a preconditioner's inverse square root, as the parameters are (see `wb.optimizers.edge`);
        without it the eigenvalues are the Hessian's.

        Raises:
            ValueError: more eigenvalues than parameters, half precision, or another number of parameters than before.
            workbench.memory.OutOfBudget: the vectors do not fit.
        """
        size, dtype = size_of(parameters)
        require_full_precision(dtype)
        if self.k > size:
            raise ValueError(f"k={self.k}; choose at most the number of parameters, {size}")
        if self._memory is not None and self._memory.probe.numel() != size:
            raise ValueError(
                f"the parameters are {size:,} now and were {self._memory.probe.numel():,}: make a tracker for each network"
            )
        if size > max(_EXACT, self.k + 1):
            rows = 2 * min(size, self.k + _FIRST + _MOST) + 5 * self.k + 12
            memory.require(
                rows * size * dtype.itemsize, f"{rows} vectors of {size:,} parameters", "Raise WORKBENCH_MEMORY (GiB)."
            )
        return self.of(hvp_operator(loss, parameters), None if root is None else flatten(root)[0], shift)

    def of(self, operator: HVPOperator, root: Tensor | None = None, shift: float | Tensor = 0.0) -> Tracked:
        """The same of an `hvp_operator`."""

        def product(vector: Tensor) -> Tensor:
            if root is None:
                return operator(vector) + shift * vector
            scaled = root * vector
            return root * (operator(scaled) + shift * scaled)

        like = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
        if operator.size <= max(_EXACT, self.k + 1):
            return self._exact(operator, root, shift)
        found, self._memory = _Evaluation(self, product, like).from_(self._memory)
        self.evaluations += 1
        return found

    def _exact(self, operator: HVPOperator, root: Tensor | None, shift: float | Tensor) -> Tracked:
        rows = hessian_rows(operator) + shift * torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
        rows = rows if root is None else root[:, None] * rows * root
        values = symmetric_eigenvalues(symmetrised(rows)).flip(0)[: self.k]
        number = torch.as_tensor(operator.size, device=rows.device)
        return Tracked(values, norm(rows - rows.mT).expand(self.k), number, torch.ones_like(number, dtype=torch.bool))


class _Evaluation:
    """One evaluation. Numbers inside are over the space's unit, those in the memory are not."""

    def __init__(self, tracker: Tracker, product: Callable[[Tensor], Tensor], like: Tensor) -> None:
        self.tracker, self.k, self.like = tracker, tracker.k, like
        self.space = Space(product, like)
        self.always = torch.ones((), dtype=torch.bool, device=like.device)

    def from_(self, memory: _Memory | None) -> tuple[Tracked, _Memory]:
        if memory is None:
            probe, image = self._search(self.always, _FIRST)
            self._refine(self.always, _FIRST + _MOST, _TOLERANCE)
            return self._first(probe, image)
        self._follow(memory)
        memory, check = self._look(memory)
        if anywhere(check):
            probe, image = self._search(check, _SEARCH)
            self._refine(check, _FIRST + _MOST, _TOLERANCE)
            memory = self._referred(memory, probe, image, check)
        return self._left(memory, check)

    def _first(self, probe: Tensor, image: Tensor) -> tuple[Tracked, _Memory]:
        vectors = self.space.ritz(self.k + 1).vectors
        if len(vectors) <= self.k:
            vectors = torch.cat([vectors, vectors.new_zeros(self.k + 1 - len(vectors), vectors.shape[1])])
        zero, none = self.like.new_zeros(()), torch.zeros_like(self.like)
        never = torch.full_like(zero, torch.inf)
        overlap = torch.zeros(4, self.k + 1, dtype=self.like.dtype, device=self.like.device)
        empty = _Memory(vectors.repeat(4, 1, 1), overlap, zero, none, none, none, never, zero, zero)
        memory = self._referred(empty, probe, image, self.always)
        return self._left(memory, self.always)

    def _follow(self, memory: _Memory) -> None:
        """The space of the last vectors, until the estimated errors are small."""
        space, k = self.space, self.k
        guesses = _guesses(memory.history)
        chosen = torch.nn.functional.one_hot(memory.overlap.argmax(0), len(guesses)).to(guesses.dtype)
        for vector in torch.einsum("ij,jip->ip", chosen, guesses):
            space.add(vector, self.always, 1.0)
        ritz = space.ritz(k)
        turned = ritz.norms.amax() > _FAR * ritz.values[0].abs()
        self._refine(self.always, k + _MOST, torch.where(turned, _TURNED, _TOLERANCE))
        active = self.always
        for _ in range(2):
            ritz = space.ritz(k + 1)
            last, value, off, size = ritz.values[k - 1], ritz.values[k], ritz.norms[k], ritz.values[k - 1].abs()
            error = torch.minimum(off, off.square() / torch.where(size > 0, 0.2 * size, 1.0))
            active = active & (value + off > last - 0.05 * size) & (error > _GUARD * size)
            if not anywhere(active):
                return
            space.add(ritz.residuals[k], active, space.scale)

    def _look(self, memory: _Memory) -> tuple[_Memory, Bool[Tensor, ""]]:
        """Whether something may have changed that the vectors do not see."""
        space, number = self.space, self.tracker.evaluations
        last = space.ritz(self.k).values[self.k - 1] * space.unit
        level, size = last + _LEVEL * last.abs(), torch.maximum(last.abs(), memory.level)
        quiet = ~(memory.usual > _NOISE * size)
        looking = quiet | (number % 4 == 0)
        check = (memory.rest > level) | (memory.spare >= 10.0) | (number % self.tracker.check_every == 0)
        if anywhere(looking):
            image = space.image(memory.probe, looking)
            seen = space.outside(memory.probe, image) * space.unit
            step, drift = norm(seen - memory.before), norm(seen - memory.reference)
            jump = (step > 4 * memory.usual) & (memory.rest + 10 * step > level) | (step > 50 * memory.usual)
            risen = quiet & (memory.rest + 2 * drift > level) & (memory.spare >= 0)
            check = check | (looking & (jump | risen))
            learnt = torch.where(
                torch.isinf(memory.usual), step, 0.9 * memory.usual + 0.1 * torch.minimum(step, 4 * memory.usual)
            )
            memory = memory._replace(
                before=torch.where(looking, seen, memory.before), usual=torch.where(looking, learnt, memory.usual)
            )
        allowed = torch.where(quiet, _QUIET_MEAN, _MEAN) + self.k - 1
        return memory._replace(spare=memory.spare + allowed), check

    def _search(self, active: Bool[Tensor, ""], most: int) -> tuple[Tensor, Tensor]:
        """Lanczos from a random start outside of the space, until nothing above the k-th value is likely. Returns the start and
        its image.
        """
        space, k, first = self.space, self.k, self.space.rows
        start = draws.normal(
            self.tracker.seed, (self.like.numel(),), stream="along", counter=self.tracker.evaluations
        ).to(self.like)
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

    def _referred(self, memory: _Memory, probe: Tensor, image: Tensor, check: Bool[Tensor, ""]) -> _Memory:
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

    def _left(self, memory: _Memory, check: Bool[Tensor, ""]) -> tuple[Tracked, _Memory]:
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
        first = self.tracker.evaluations == 0
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
