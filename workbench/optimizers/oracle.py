"""What a rule may ask about the loss at one step, where the answers come from, and the dry step that finds out beforehand.

A *source* makes the *oracle* of each step from the step's random numbers. Rules see oracles alone. An oracle that cannot answer
refuses with `NotProvided`; `needs` asks every question of a step before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.draws.kinds import Draw, Normal
from workbench.draws.table import Draws, Request
from workbench.parameters import Parameters, count, inner, leaves, tree_map, unravel


class NotProvided(ValueError):
    """The rule asks for something that this run cannot give: `what`, `why`.

    >>> import workbench as wb
    >>> wb.run(wb.problems.quadratic([1.0]), wb.optimizers.previous_sam(0.1, rho=0.05), steps=1)
    Traceback (most recent call last):
        ...
    workbench.optimizers.oracle.NotProvided: previous_sam(step_size=0.1, rho=0.05) asks for the previous step's ...
    """

    def __init__(self, what: str, why: str, rule: object = None) -> None:
        super().__init__(f"{'the rule' if rule is None else repr(rule)} asks for {what}: {why}")
        self.what, self.why = what, why


class Moment(NamedTuple):
    """One step of a run as a source sees it. `step` counts the steps that the rule has taken.

    >>> import torch
    >>> import workbench as wb
    >>> from workbench.dynamics.sources import AllSamples
    >>> moment = wb.optimizers.Moment(wb.problems.quadratic([1.0]), torch.tensor([3.0]), torch.tensor(0), draws=None)
    >>> wb.optimizers.UnifiedSAM(rho=1.0)(AllSamples().oracle(moment), moment.parameters)  # g(x + rho u(g(x)))
    tensor([4.], dtype=torch.float64)
    """

    problem: Any
    parameters: Parameters
    step: Int[Tensor, ""]
    draws: Draws

    @property
    def previous(self) -> Moment:
        """The same with the random numbers of the step before."""
        return self._replace(draws=self.draws.previous())

    def named(self, name: str) -> Moment:
        """The same with random numbers of its own."""
        return self._replace(draws=self.draws.named(name))


class Side(Protocol):
    """Oracles side by side. Their results have a leading dimension: group or user."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def gradients(self, x: Parameters) -> Parameters:
        """The gradients of all at x."""
        ...

    def gradients_at(self, xs: Parameters) -> Parameters:
        """The gradient of each at its own parameters (leading dimension as in the result)."""
        ...


class SampleSide(Side, Protocol):
    """Groups of samples side by side, which show their losses too."""

    def losses(self, x: Parameters) -> Float[Tensor, " group"]:
        """The losses of all at x."""
        ...


class Source:
    """Where gradients come from. Keeps no state: what is to be remembered is the rule's.

    >>> import torch
    >>> import workbench as wb
    >>> class Exact(wb.optimizers.Oracle):
    ...     def __init__(self, source, moment):
    ...         self.source, self.moment = source, moment
    ...     def gradient(self, x):
    ...         return self.moment.problem.gradient(x)
    >>> class Own(wb.optimizers.Source):
    ...     def oracle(self, moment):
    ...         return Exact(self, moment)
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.gradient_descent(0.1), source=Own(), start=start, steps=1).parameters
    tensor([2.7000], dtype=torch.float64)
    """

    def oracle(self, moment: Moment) -> Oracle:
        """The oracle of one step. Asks `moment.draws` for all its numbers here, never later."""
        raise NotImplementedError(f"{type(self).__name__} has no oracle")

    def per_epoch(self, problem: Any) -> int | None:
        """Steps in an epoch; None where there are no epochs."""
        return None


class Oracle:
    """What a rule may ask at one step. All answers of a step are of the same samples and the same noise.

    A subclass overrides what its source provides; the rest is refused here.

    >>> import torch
    >>> import workbench as wb
    >>> from workbench.dynamics.sources import AllSamples
    >>> moment = wb.optimizers.Moment(wb.problems.quadratic([2.0]), torch.tensor([3.0]), torch.tensor(0), draws=None)
    >>> oracle = AllSamples().oracle(moment)
    >>> oracle.gradient(moment.parameters), oracle.loss(moment.parameters)
    (tensor([6.], dtype=torch.float64), tensor(9., dtype=torch.float64))
    """

    source: Source
    moment: Moment

    @property
    def step(self) -> Int[Tensor, ""]:
        """Steps taken by this rule."""
        return self.moment.step

    def gradient(self, x: Parameters) -> Parameters:
        """Gradient of this step's loss."""
        raise NotProvided("a gradient", f"{type(self.source).__name__} gives none")

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        """This step's loss."""
        raise NotProvided("the value of the loss", f"{type(self.source).__name__} gives gradients alone")

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        """Hessian of this step's loss times v."""
        return torch.func.grad(lambda point: inner(self.gradient(point), v))(x)

    def draw(self, draw: Draw) -> Tensor:
        """This step's row of a draw; asking twice gives the same numbers."""
        return self.moment.draws.row(draw)

    def normal(self, stream: str, like: Parameters, pieces: int = 1) -> Parameters:
        """Standard normal entries in the shape of `like`, fresh at every step (see `workbench.draws.Normal`)."""
        first = leaves(like)[0]
        return unravel(self.draw(Normal(stream, (count(like),), pieces)).to(first.device, first.dtype), like)

    def tensors(self, x: Parameters) -> dict[str, Tensor]:
        """The tensors that make up x, by name; a single tensor without one is called ""."""
        return x if isinstance(x, dict) else {"": x}

    def joined(self, tensors: dict[str, Tensor]) -> Parameters:
        """Inverse of `tensors`."""
        return tensors[""] if list(tensors) == [""] else tensors

    @property
    def samples(self) -> int | None:
        """How many samples this step's loss is the mean of; None where that is not known."""
        return None

    def chosen(self, indices: Int[Tensor, " sample"]) -> Oracle:
        """The loss of these of this step's samples alone."""
        raise NotProvided("single samples", f"{type(self.source).__name__} does not show them")

    def outputs(self, x: Parameters) -> Tensor:
        """The model's outputs on this step's samples."""
        raise NotProvided("the model's outputs", f"{type(self.source).__name__} shows the loss alone")

    def output_loss(self, outputs: Tensor) -> Float[Tensor, ""]:
        """This step's loss as a function of the outputs."""
        raise NotProvided("the model's outputs", f"{type(self.source).__name__} shows the loss alone")

    def gradient_through(self, x: Parameters, y: Parameters) -> Parameters:
        """J(y)^T s(x): the outputs' Jacobian at y, the loss's derivative in the outputs at x. At y = x the gradient."""
        slope = torch.func.grad(self.output_loss)(self.outputs(x))
        return torch.func.vjp(self.outputs, y)[1](slope)[0]

    @property
    def full(self) -> Oracle:
        """All samples, without noise."""
        raise NotProvided("the gradient over all samples", f"{type(self.source).__name__} does not show them")

    @property
    def previous(self) -> Oracle:
        """The samples and noise of the step before (at the first step, its own)."""
        return self._of_moment(self.moment.previous, "the previous step's samples")

    @property
    def previous_or_same(self) -> Oracle:
        """`previous`, or this very oracle where every step sees the same samples."""
        moment = self.moment.previous
        oracle = self.source.oracle(moment)
        return oracle if moment.draws.used else self

    def fresh(self, name: str) -> Oracle:
        """The same source with random numbers of its own: a second, independent minibatch, say."""
        return self._of_moment(self.moment.named(name), "fresh samples")

    def _of_moment(self, moment: Moment, what: str) -> Oracle:
        oracle = self.source.oracle(moment)
        if not moment.draws.used:
            raise NotProvided(what, "this run draws none, every step sees the same; give batch_size or another source")
        return oracle

    def groups(self, size: int) -> SampleSide:
        """This step's samples in consecutive groups of `size`; groups of one are per-sample gradients."""
        raise NotProvided(f"groups of {size} samples", f"{type(self.source).__name__} does not show its samples")

    @property
    def users(self) -> Side:
        """Several objectives, one's own first."""
        raise NotProvided("several users", "give source=Users(...)")


class Needs(NamedTuple):
    """What one step of a rule asks for: random numbers, and gradients, Hessian-vector products and losses (counts, a gradient
    of every group of a minibatch counted once). `groups` is the largest number of gradients held side by side.

    `cost` is in gradients of one minibatch: those of other samples by their number, a product twice, a loss a third, unless the
    rule says what it costs (`Rule.cost`).
    """

    requests: tuple[Request, ...]
    gradients: int
    products: int
    losses: int
    groups: int
    previous: bool
    cost: float


def needs(
    source: Source,
    problem: Any,
    rule: Any,
    parameters: Parameters,
    step: Tensor,
    room: Callable[[int], None] | None = None,
) -> Needs:
    """Take one dry step: every question is noted, and refused where it cannot be answered; no gradient is computed.

    room: called with the number of gradients held side by side, before they are; it may refuse.

    Raises NotProvided with the rule in its message, ValueError where one stream has two kinds of draw.
    """
    notes = _Notes(room)
    try:
        oracle = _DryOracle(source.oracle(Moment(problem, parameters, step, Draws(notes.row))), notes)
        rule.step(oracle, parameters, rule.init(parameters))
        rule.duration(oracle)
    except NotProvided as refused:
        raise NotProvided(refused.what, refused.why, rule) from None
    kinds: dict[str, Draw] = {}
    for draw, _ in notes.requests:
        if kinds.setdefault(draw.stream, draw) != draw:
            raise ValueError(
                f"{rule!r}: the stream {draw.stream!r} is drawn as {kinds[draw.stream]!r} and as {draw!r}; use two names"
            )
    cost = notes.cost if rule.cost is None else rule.cost
    return Needs(
        tuple(notes.requests), notes.gradients, notes.products, notes.losses, notes.groups, notes.previous, cost
    )


@dataclass
class _Notes:
    room: Callable[[int], None] | None = None
    requests: dict[Request, None] = field(default_factory=dict)
    gradients: int = 0
    products: int = 0
    losses: int = 0
    groups: int = 1
    previous: bool = False
    cost: float = 0.0

    def row(self, request: Request) -> Tensor:
        self.requests[request] = None
        return request[0].blank()


class _DryOracle(Oracle):
    """Answers at no cost: a gradient at x with x itself, a product with the vector. (Zeros would be singular more often.)

    share: its samples over those of the step.
    """

    def __init__(self, of: Oracle, notes: _Notes, share: float = 1.0) -> None:
        self._of, self._notes, self._share = of, notes, share
        self.source, self.moment = of.source, of.moment

    def _other(self, of: Oracle) -> _DryOracle:
        known = of.samples is not None and self._of.samples is not None
        return _DryOracle(of, self._notes, self._share * (of.samples / self._of.samples if known else 1.0))  # type: ignore[operator]

    def gradient(self, x: Parameters) -> Parameters:
        self._notes.gradients += 1
        self._notes.cost += self._share
        return x

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        self._notes.products += 1
        self._notes.cost += 2 * self._share
        return v

    def loss(self, x: Parameters) -> Tensor:
        self._notes.losses += 1
        self._notes.cost += self._share / 3
        return self._of.loss(x)

    def gradient_through(self, x: Parameters, y: Parameters) -> Parameters:
        self._of.output_loss(self._of.outputs(x))
        return self.gradient(y)

    def tensors(self, x: Parameters) -> dict[str, Tensor]:
        return self._of.tensors(x)

    def joined(self, tensors: dict[str, Tensor]) -> Parameters:
        return self._of.joined(tensors)

    def draw(self, draw: Draw) -> Tensor:
        return self._of.draw(draw)

    def normal(self, stream: str, like: Parameters, pieces: int = 1) -> Parameters:
        return self._of.normal(stream, like, pieces)

    @property
    def samples(self) -> int | None:
        return self._of.samples

    def chosen(self, indices: Tensor) -> Oracle:
        return self._other(self._of.chosen(indices))

    @property
    def full(self) -> Oracle:
        return self._other(self._of.full)

    @property
    def previous(self) -> Oracle:
        self._notes.previous = True
        return self._other(self._of.previous)

    @property
    def previous_or_same(self) -> Oracle:
        other = self._of.previous_or_same
        self._notes.previous |= other is not self._of
        return self._other(other)

    def fresh(self, name: str) -> Oracle:
        return self._other(self._of.fresh(name))

    def groups(self, size: int) -> SampleSide:
        return _DrySide(self._of.groups(size), self._notes, self._share)

    @property
    def users(self) -> Side:
        users = self._of.users
        return _DrySide(users, self._notes, self._share * users.count)


class _DrySide:
    def __init__(self, of: Side, notes: _Notes, share: float) -> None:
        self.count, self._notes, self._share = of.count, notes, share
        notes.groups = max(notes.groups, of.count)
        if notes.room is not None:
            notes.room(notes.groups)

    def gradients(self, x: Parameters) -> Parameters:
        return self.gradients_at(tree_map(lambda leaf: leaf.expand(self.count, *leaf.shape), x))

    def gradients_at(self, xs: Parameters) -> Parameters:
        self._notes.gradients += 1
        self._notes.cost += self._share
        return xs

    def losses(self, x: Parameters) -> Tensor:
        self._notes.losses += 1
        self._notes.cost += self._share / 3
        return leaves(x)[0].new_zeros(self.count)
