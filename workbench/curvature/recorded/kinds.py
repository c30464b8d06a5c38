"""Which rule an operation has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .bilinear import Batches, Bilinear, Convolution, Entries, Matrices, Multiplication
from .normal import LogSoftmax, Normalise, Softmax, normalise, row_sums
from .rules import Elementwise, General, Linear, Part, Rearranged, Rule, Sum
from .tape import Operation, Slot, Tape

aten = torch.ops.aten

_ELEMENTWISE = {
    *("relu", "tanh", "sigmoid", "gelu", "silu", "mish", "elu", "celu", "selu", "softplus", "leaky_relu", "hardtanh"),
    *("hardswish", "hardsigmoid", "log_sigmoid_forward", "relu6", "threshold", "clamp", "clamp_min", "clamp_max"),
    *("exp", "expm1", "log", "log1p", "log2", "sin", "cos", "sinh", "cosh", "tan", "atan", "asinh", "erf", "erfc"),
    *("abs", "square", "sqrt", "rsqrt", "reciprocal", "softshrink", "hardshrink"),
}
_LINEAR = {"sum", "mean", "cumsum", "neg", "avg_pool2d", "_adaptive_avg_pool2d", "roll", "flip", "index_select"} | {
    *("tril", "triu", "repeat", "gather", "diagonal", "upsample_bilinear2d", "upsample_nearest2d")
}
_PARTS = {"select", "slice", "split", "split_with_sizes", "unbind"}


def rule_of(tape: Tape, number: int) -> Rule:
    """The rule of an operation: one that knows it, or double backward of this operation alone."""
    operation, value = tape.operations[number], tape.values[number]
    assert operation is not None
    values = [tape.values[entry] for entry in operation.inputs]
    if any(entry.dtype != value.dtype for entry in values):
        return General(operation, values)
    if operation.function is normalise:
        return Normalise(values[0], *operation.arguments[1:])
    name = str(operation.function).split(".")[1]
    if isinstance(operation.arguments[0], Slot) and len(operation.inputs) == 1 and values[0].ndim:
        simple = _of_one(operation, name, values[0], value)
        if simple is not None:
            return simple
    special = _SPECIAL.get(name)
    rule = special(tape, operation, values, value) if special else None
    return rule or General(operation, values)


def _of_one(operation: Operation, name: str, point: Tensor, value: Tensor) -> Rule | None:
    """Of operations whose first argument is their only value."""
    rest, keywords = operation.arguments[1:], operation.keywords
    if any(isinstance(entry, Tensor) for entry in rest) and name not in ("index_select", "gather"):
        return None
    if name in _REARRANGED:
        return _REARRANGED[name](point, value, *rest)
    if name in _ELEMENTWISE or operation.function is aten.pow.Tensor_Scalar:
        return Elementwise(operation, point)
    if name in _PARTS:
        return Part(operation)
    if operation.function is aten.mean.dim and not keywords:
        return _mean(point, value, *rest)
    if name in _LINEAR or operation.function in (aten.mul.Scalar, aten.div.Scalar):
        return Linear(operation, [point])
    if name == "max_pool2d_with_indices" and operation.which == 0:
        return _max_pool(operation, point)
    if name in ("_softmax", "_safe_softmax") and rest[0] in (-1, value.ndim - 1) and not keywords.get("dtype"):
        return Softmax(value)
    if name == "_log_softmax":
        return LogSoftmax(value, rest[0])
    return None


def _view(point: Tensor, value: Tensor, *_: Any) -> Rule:
    before, after = point.shape, value.shape
    return Rearranged(lambda x: x.reshape(after), lambda y: y.reshape(before))


def _transpose(point: Tensor, value: Tensor, *dims: int) -> Rule:
    dims = dims or (-2, -1)
    if point.ndim < 2:
        return Rearranged(lambda x: x, lambda y: y)
    return Rearranged(lambda x: x.transpose(*dims), lambda y: y.transpose(*dims))


def _permute(point: Tensor, value: Tensor, dims: list[int]) -> Rule:
    order = [dim % point.ndim for dim in dims]
    back = [order.index(dim) for dim in range(point.ndim)]
    return Rearranged(lambda x: x.permute(order), lambda y: y.permute(back))


def _mean(point: Tensor, value: Tensor, dims: list[int] | None = None, keep: bool = False) -> Rule:
    before, chosen = point.shape, sorted(dim % point.ndim for dim in dims or range(point.ndim))
    kept = [1 if dim in chosen else size for dim, size in enumerate(before)]
    count = point.numel() // max(1, value.numel())
    last = chosen == list(range(point.ndim - len(chosen), point.ndim))

    def forward(change: Tensor) -> Tensor:
        if last:
            return (row_sums(change, len(chosen)) / count).reshape(value.shape)
        return change.mean(chosen, keepdim=keep)

    return Rearranged(forward, lambda y: (y / count).reshape(kept).expand(before), False)


def _same(point: Tensor, value: Tensor, *_: Any) -> Rule:
    return Rearranged(lambda x: x, lambda y: y)


def _expand(point: Tensor, value: Tensor, *_: Any) -> Rule:
    before, after = point.shape, value.shape
    if before == after:
        return _same(point, value)
    return Rearranged(lambda x: x.expand(after), lambda y: y.sum_to_size(before), False)


_REARRANGED: dict[str, Callable[..., Rule]] = {
    **dict.fromkeys(("view", "_unsafe_view", "unsqueeze", "squeeze", "reshape"), _view),
    **dict.fromkeys(("t", "transpose"), _transpose),
    **dict.fromkeys(("clone", "alias", "contiguous", "lift_fresh"), _same),
    "permute": _permute,
    "expand": _expand,
}


def _max_pool(operation: Operation, point: Tensor) -> Rule | None:
    """The largest entries are where they are: picking them is linear."""
    value, where = operation.function(point, *operation.arguments[1:], **operation.keywords)
    if point.ndim < 3:
        return None
    flat = where.flatten(-2)

    class Picked(Linear):
        def push(self, changes: Sequence[Any], free: Sequence[bool]) -> Tensor:
            return changes[0].flatten(-2).gather(-1, flat).reshape(value.shape)

    return Picked(operation, [point])


def _add(sign: float) -> Callable[[Tape, Operation, list[Tensor], Tensor], Rule | None]:
    def make(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
        scale = sign * operation.keywords.get("alpha", 1)
        first, second = operation.arguments[:2]
        if len(operation.arguments) > 2 or (isinstance(first, Slot) and first == second):
            return None
        scales = [one for entry, one in ((first, 1.0), (second, scale)) if isinstance(entry, Slot)]
        return Sum(value.shape, [entry.shape for entry in values], scales)

    return make


def _mul(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    left, right = operation.arguments
    if not isinstance(left, Tensor | Slot) or not isinstance(right, Tensor | Slot):
        return Linear(operation, values)
    shapes = [tape.values[entry.number].shape if isinstance(entry, Slot) else entry.shape for entry in (left, right)]
    return _bilinear(tape, operation, Entries(*shapes), left, right)


def _div(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    return (
        None if isinstance(operation.arguments[1], Slot) or len(operation.arguments) > 2 else Linear(operation, values)
    )


def _product(by: type[Matrices]) -> Callable[[Tape, Operation, list[Tensor], Tensor], Rule | None]:
    def make(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
        return _bilinear(tape, operation, by(), *operation.arguments)

    return make


def _added(by: type[Matrices]) -> Callable[[Tape, Operation, list[Tensor], Tensor], Rule | None]:
    def make(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
        if operation.keywords:
            return None
        bias, left, right = operation.arguments
        shape = tape.values[bias.number].shape if isinstance(bias, Slot) else bias.shape
        return _bilinear(tape, operation, by(), left, right, bias, (shape, shape))

    return make


def _convolution(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    left, right, bias, *settings = operation.arguments
    image, kernel = (tape.values[entry.number] if isinstance(entry, Slot) else entry for entry in (left, right))
    by = Convolution(image, kernel, settings)
    shapes = (torch.Size([value.shape[1]]), torch.Size([1, value.shape[1], *(1,) * (value.ndim - 2)]))
    return _bilinear(tape, operation, by, left, right, bias, shapes)


def _bilinear(
    tape: Tape, operation: Operation, by: Multiplication, left: Any, right: Any, bias: Any = None, shapes: Any = None
) -> Rule | None:
    inputs = operation.inputs
    places = [inputs.index(entry.number) if isinstance(entry, Slot) else None for entry in (left, right, bias)]
    held = [tape.values[entry.number] if isinstance(entry, Slot) else entry for entry in (left, right)]
    if places[0] is None and places[1] is None:
        return None
    return Bilinear(by, held[0], held[1], (places[0], places[1], places[2]), shapes)


def _where(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    return Linear(_zeroed(operation, (1, 2)), values) if not isinstance(operation.arguments[0], Slot) else None


def _masked_fill(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    if isinstance(operation.arguments[2], (Slot, Tensor)):
        return None
    source, mask, _ = operation.arguments
    return Linear(Operation(operation.function, (source, mask, 0.0)), values)


def _zeroed(operation: Operation, places: tuple[int, ...]) -> Operation:
    """With zeros for constant tensors at these places, which do not change."""
    arguments = list(operation.arguments)
    for place in places:
        if isinstance(arguments[place], Tensor):
            arguments[place] = torch.zeros_like(arguments[place])
    return Operation(operation.function, tuple(arguments), operation.keywords, operation.which)


def _joined(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    entries = [torch.zeros_like(entry) if isinstance(entry, Tensor) else entry for entry in operation.arguments[0]]
    return Linear(Operation(operation.function, (entries, *operation.arguments[1:]), operation.keywords), values)


def _embedding(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    return Linear(operation, values) if len(operation.arguments) == 2 and not operation.keywords else None


def _negative_log_likelihood(tape: Tape, operation: Operation, values: list[Tensor], value: Tensor) -> Rule | None:
    return Linear(operation, values) if operation.which == 0 else None


_SPECIAL: dict[str, Callable[[Tape, Operation, list[Tensor], Tensor], Rule | None]] = {
    "add": _add(1.0),
    "sub": _add(-1.0),
    "mul": _mul,
    "div": _div,
    "mm": _product(Matrices),
    "bmm": _product(Batches),
    "addmm": _added(Matrices),
    "baddbmm": _added(Batches),
    "convolution": _convolution,
    "where": _where,
    "masked_fill": _masked_fill,
    "cat": _joined,
    "stack": _joined,
    "embedding": _embedding,
    "nll_loss_forward": _negative_log_likelihood,
    "nll_loss2d_forward": _negative_log_likelihood,
}
