"""A tape without what is not needed, and with normalisations taken apart so that what they share with others is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .normal import normalise
from .tape import Operation, Slot, Tape

aten = torch.ops.aten

_BATCH_NORM = (aten.native_batch_norm.default, aten.cudnn_batch_norm.default)


def lowered(tape: Tape) -> Tape:
    """What leads to the loss, with BatchNorm in evaluation mode as a scale and a shift, which a convolution before it takes
    over, and LayerNorm as normalisation, scale and shift.
    """
    tape = reaching(tape)
    users = Counter(number for operation in tape.operations if operation for number in operation.inputs)
    result = Tape(tape.values[: tape.leaves])
    new: dict[int, int] = {number: number for number in range(tape.leaves)}

    for number, operation in enumerate(tape.operations):
        if operation is None:
            continue
        one = operation.moved(new)
        value = tape.values[number]
        way = _ways(one)
        if way is None:
            new[number] = result.add(one, value)
            continue
        source = operation.arguments[0]
        alone = isinstance(source, Slot) and users[source.number] == 1
        new[number] = way(result, one, value, alone)
    return reaching(result)


def reaching(tape: Tape) -> Tape:
    """The operations whose value the last one depends on."""
    wanted = {len(tape.operations) - 1, *range(tape.leaves)}
    for number in range(len(tape.operations) - 1, tape.leaves - 1, -1):
        operation = tape.operations[number]
        if number in wanted and operation is not None:
            wanted.update(operation.inputs)
    result = Tape(tape.values[: tape.leaves])
    new = {number: number for number in range(tape.leaves)}
    for number in sorted(wanted)[tape.leaves :]:
        operation = tape.operations[number]
        assert operation is not None
        new[number] = result.add(operation.moved(new), tape.values[number])
    return result


def _ways(operation: Operation) -> Callable[[Tape, Operation, Tensor, bool], int] | None:
    arguments = operation.arguments
    if operation.function is aten.convolution.default and isinstance(arguments[0], Slot) and _strided_points(operation):
        return _subsampled
    if operation.which == 0 and isinstance(arguments[0], Slot) and not operation.keywords:
        if operation.function in _BATCH_NORM and not arguments[5] and arguments[3] is not None:
            return _batch_norm
        if operation.function is aten.native_layer_norm.default:
            return _layer_norm
    return None


def _batch_norm(tape: Tape, operation: Operation, value: Tensor, alone: bool) -> int:
    source, weight, bias, mean, variance, _, _, eps = operation.arguments
    channels = (1, -1, *(1,) * (value.ndim - 2))
    rate = (variance + eps).rsqrt()
    scale = rate if weight is None else tape.emit(aten.mul.Tensor, weight, rate)
    shift = tape.emit(aten.mul.Tensor, scale, -mean)
    if bias is not None:
        shift = tape.emit(aten.add.Tensor, shift, bias)
    before = tape.operations[source.number]
    if alone and before is not None and _foldable(before):
        image, kernel, own, *settings = before.arguments
        if own is not None:
            shift = tape.emit(aten.add.Tensor, shift, tape.emit(aten.mul.Tensor, own, scale))
        columns = tape.emit(aten.view.default, scale, [-1, *(1,) * (value.ndim - 1)])
        folded = tape.emit(aten.mul.Tensor, kernel, columns)
        return tape.add(Operation(aten.convolution.default, (image, folded, shift, *settings)), value)
    return _affine(tape, source, scale, shift, channels, value)


def _foldable(operation: Operation) -> bool:
    return operation.function is aten.convolution.default and not operation.arguments[6] and not operation.keywords


def _strided_points(operation: Operation) -> bool:
    """Whether a convolution looks at single points of a coarser grid, which torch's transposes are slow for."""
    stride, padding, _, transposed = operation.arguments[3:7]
    return max(stride) > 1 and not transposed and not any(padding)


def _subsampled(tape: Tape, operation: Operation, value: Tensor, alone: bool) -> int:
    source, kernel, bias, stride, *settings = operation.arguments
    shape = tape.values[kernel.number].shape if isinstance(kernel, Slot) else kernel.shape
    if any(size > 1 for size in shape[2:]):
        return tape.add(operation, value)
    for dim, step in enumerate(stride, start=2):
        source = tape.emit(aten.slice.Tensor, source, dim, 0, tape.values[source.number].shape[dim], step)
    source = tape.emit(aten.clone.default, source)
    tape.values[source.number] = tape.values[source.number].contiguous()
    return tape.add(Operation(operation.function, (source, kernel, bias, [1] * len(stride), *settings)), value)


def _layer_norm(tape: Tape, operation: Operation, value: Tensor, alone: bool) -> int:
    source, shape, weight, bias, eps = operation.arguments
    result = tape.emit(normalise, source, len(shape), eps)
    return _affine(tape, result, weight, bias, None, value)


def _affine(tape: Tape, source: Slot, scale: Any, shift: Any, shape: tuple[int, ...] | None, value: Tensor) -> int:
    """source * scale + shift, both of this shape if there is one; the last operation gets the value that is known."""

    def shaped(entry: Any) -> Any:
        return entry if shape is None else tape.emit(aten.view.default, entry, list(shape))

    if scale is not None:
        source = tape.emit(aten.mul.Tensor, source, shaped(scale))
    if shift is not None:
        source = tape.emit(aten.add.Tensor, source, shaped(shift))
    tape.values[source.number] = value
    return source.number
