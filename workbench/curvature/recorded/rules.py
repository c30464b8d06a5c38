"""How one operation carries a change of its inputs forward, and a gradient and its change back.

With y = f(x), a dot for the change along the vector and a bar for the loss's gradient, which does not depend on the vector:
push ẏ = f'(x) ẋ, pull x̄ = f'(x)ᵀ ȳ, and its change f'(x)ᵀ ȳ˙ + (d/dx f'(x)ᵀ ȳ)[ẋ]. Whatever is the same for all vectors is
computed when the rule is made, or when it meets the gradient ȳ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .tape import Operation

aten = torch.ops.aten

Parts = Sequence[Tensor | None]
"""One entry for every input of an operation; None stands for zero."""


class Rule:
    """One operation at one point. Inputs are those of `Operation.inputs`, in that order.

    Where an argument is said to be `free`, nothing else looks at its memory, and the result may be written there. Changes that
    are None are zero: of some inputs if `partial`, never of all.
    """

    fresh: ClassVar[bool] = True
    """Whether what `change` returns is memory of its own: no view of what went in or of what is kept."""
    fresh_push: bool = True
    """The same of `push`."""
    passes: bool = False
    """Whether both return, if not memory of their own, what went in, every entry once: free if that was."""
    partial: ClassVar[bool] = False
    looks_at_inputs: bool = False
    looks_at_output: bool = False
    """Whether `change` is to be given the changes of the inputs, or of the output."""

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        """Change of the output."""
        raise NotImplementedError

    def meet(self, gradient: Tensor) -> None:
        """Compute once what depends on the output's gradient alone."""

    def pull(self, gradient: Tensor) -> Parts:
        """Gradients of the inputs."""
        raise NotImplementedError

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        """Changes of the inputs' gradients, from that of the output's (None: zero) and the changes of inputs and output."""
        raise NotImplementedError


class Constant(Rule):
    """Of a rule without second-order term: the change of the gradient is pulled back as the gradient is."""

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        return [None] * len(changes) if gradient is None else self.pull(gradient)


class Linear(Constant):
    """An operation that is linear in its inputs together; its transpose by autograd."""

    fresh = fresh_push = False  # torch hands on what it can

    def __init__(self, forward: Callable[..., Tensor], values: Sequence[Tensor]) -> None:
        self.forward = forward
        self.points = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            # The edge keeps the graph and not the output.
            self.edge = torch.autograd.graph.get_gradient_edge(forward(*self.points))

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return self.forward(*changes)

    def pull(self, gradient: Tensor) -> Parts:
        return torch.autograd.grad(self.edge, self.points, gradient, retain_graph=True, allow_unused=True)


class Rearranged(Constant):
    """The same numbers in another order or shape (`passes`), or repeated or averaged: two functions of one tensor."""

    fresh = fresh_push = False

    def __init__(
        self, forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor], passes: bool = True
    ) -> None:
        self.forward, self.backward, self.passes = forward, backward, passes

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return self.forward(changes[0])

    def pull(self, gradient: Tensor) -> Parts:
        return (self.backward(gradient),)


class Part(Rule):
    """Some entries of the input, as a view of it; gradients of all parts of one input are gathered in one tensor."""

    fresh = fresh_push = False

    def __init__(self, view: Callable[[Tensor], Tensor]) -> None:
        self.view = view

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return self.view(changes[0])

    def add_to(self, total: Tensor, gradient: Tensor) -> None:
        self.view(total).add_(gradient)


class Sum(Constant):
    """a x + b z of one or two inputs, broadcast."""

    fresh = False
    partial = True

    def __init__(self, shape: torch.Size, shapes: Sequence[torch.Size], scales: Sequence[float]) -> None:
        self.shape, self.shapes, self.scales = shape, shapes, scales
        self.fresh_push = len(shapes) == 2

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        there = [(change, scale) for change, scale in zip(changes, self.scales, strict=True) if change is not None]
        if len(there) == 1:
            change, scale = there[0]
            alone = (change if scale == 1 else change * scale).expand(self.shape)
            return alone.clone() if self.fresh_push else alone
        first = changes[0] if self.scales[0] == 1 else changes[0] * self.scales[0]
        if free[0] and first.shape == self.shape:
            return first.add_(changes[1], alpha=self.scales[1])
        if free[1] and self.scales[1] == 1 and changes[1].shape == self.shape:
            return changes[1].add_(first)
        return torch.add(first, changes[1], alpha=self.scales[1])

    def pull(self, gradient: Tensor) -> Parts:
        parts = [gradient.sum_to_size(shape) for shape in self.shapes]
        return [part if scale == 1 else part * scale for part, scale in zip(parts, self.scales, strict=True)]


class Elementwise(Rule):
    """Each entry a function of one entry: its first two derivatives are tensors like the value."""

    def __init__(self, operation: Operation, value: Tensor) -> None:
        if operation.function is aten.relu.default:
            self.slope, self.curve = (value > 0).to(value.dtype), None
            return
        point = value.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(operation(point).sum(), point, create_graph=True)
            bend = torch.autograd.grad(slope.sum(), point)[0] if slope.requires_grad else None
        self.slope = slope.detach()
        self.curve = None if bend is None or not bool(bend.any()) else bend
        self.looks_at_inputs = self.curve is not None

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        return changes[0].mul_(self.slope) if free[0] else changes[0] * self.slope

    def meet(self, gradient: Tensor) -> None:
        if self.curve is not None:
            self.curve.mul_(gradient)

    def pull(self, gradient: Tensor) -> Parts:
        return (gradient * self.slope,)

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        straight = None
        if gradient is not None:
            straight = gradient.mul_(self.slope) if free else gradient * self.slope
        if self.curve is None or changes[0] is None:
            return (straight,)
        return (self.curve * changes[0] if straight is None else straight.addcmul_(self.curve, changes[0]),)


class General(Rule):
    """Any operation of which torch has two derivatives, by double backward of this operation alone.

    With g(x, u) = f'(x)ᵀ u, pulling ẋ back through g gives f'(x) ẋ (from u) and the second-order term (from x) together.
    """

    fresh = fresh_push = False

    def __init__(self, operation: Operation, values: Sequence[Tensor]) -> None:
        self.points = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            self.output = operation(*self.points)
        self.bends: Parts = ()

    def meet(self, gradient: Tensor) -> None:
        self.weights = gradient.clone().requires_grad_()
        if not self.output.requires_grad:
            self.pulled: Parts = [None] * len(self.points)
            return
        with torch.enable_grad():
            self.pulled = torch.autograd.grad(
                self.output, self.points, self.weights, create_graph=True, allow_unused=True
            )

    def pull(self, gradient: Tensor) -> Parts:
        if not self.output.requires_grad:
            return [None] * len(self.points)
        return torch.autograd.grad(self.output, self.points, gradient, retain_graph=True, allow_unused=True)

    def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
        pairs = [(g, c) for g, c in zip(self.pulled, changes, strict=True) if g is not None and g.requires_grad]
        if not pairs:
            self.bends = [None] * len(self.points)
            return torch.zeros_like(self.weights)
        outputs, along = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, [self.weights, *self.points], along, retain_graph=True, allow_unused=True)
        self.bends = found[1:]
        return torch.zeros_like(self.weights) if found[0] is None else found[0]

    def change(self, gradient: Tensor | None, free: bool, changes: Parts, output: Tensor | None) -> Parts:
        bends, self.bends = self.bends, ()
        if gradient is None:
            return bends
        return [_both(one, other) for one, other in zip(self.pull(gradient), bends, strict=True)]


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other
