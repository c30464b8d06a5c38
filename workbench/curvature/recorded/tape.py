"""The evaluation of a loss as a list of torch's own operations, with the values that they had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Unrecorded(Exception):
    """The loss does something that a list of operations on values does not say; its Hessian products come from autograd."""


@dataclass(frozen=True)
class Slot:
    """In an operation's arguments: the place of the value of another operation (or leaf), by its number on the tape."""

    number: int


def mapped(function: Callable[[Any], Any], entry: Any) -> Any:
    """A function of everything inside lists, tuples and the values of dicts (torch's trees cost ten times as much)."""
    if isinstance(entry, (list, tuple)):
        return [mapped(function, one) for one in entry]
    if isinstance(entry, dict):
        return {name: mapped(function, one) for name, one in entry.items()}
    return function(entry)


def leaves_of(entry: Any) -> list[Any]:
    """Everything inside lists, tuples and the values of dicts."""
    found: list[Any] = []
    mapped(found.append, entry)
    return found


class Operation:
    """One operation and the output of it that counts (`which`, of an operation with several).

    `inputs` are the numbers of the values it takes, each once.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        keywords: dict[str, Any] | None = None,
        which: int | None = None,
    ) -> None:
        self.function, self.arguments, self.keywords, self.which = function, list(arguments), keywords or {}, which
        slots = [leaf for leaf in leaves_of([self.arguments, self.keywords]) if isinstance(leaf, Slot)]
        self.inputs: tuple[int, ...] = tuple(dict.fromkeys(slot.number for slot in slots))

    def __call__(self, *values: Tensor) -> Tensor:
        """The output at values of its `inputs`."""
        held = dict(zip(self.inputs, values, strict=True))

        def value(leaf: Any) -> Any:
            return held[leaf.number] if isinstance(leaf, Slot) else leaf

        result = self.function(*mapped(value, self.arguments), **mapped(value, self.keywords))
        return result if self.which is None else result[self.which]

    def moved(self, numbers: Mapping[int, int]) -> Operation:
        """The same on a tape where the values have these numbers."""

        def slot(leaf: Any) -> Any:
            return Slot(numbers[leaf.number]) if isinstance(leaf, Slot) else leaf

        return Operation(self.function, mapped(slot, self.arguments), mapped(slot, self.keywords), self.which)


class Tape:
    """Leaves and operations in the order in which they ran, each with its value; the last one is the loss."""

    def __init__(self, leaves: list[Tensor]) -> None:
        self.leaves = len(leaves)
        self.values: list[Tensor] = list(leaves)
        self.operations: list[Operation | None] = [None] * len(leaves)

    def add(self, operation: Operation, value: Tensor) -> int:
        self.operations.append(operation)
        self.values.append(value)
        return len(self.values) - 1

    def emit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One more operation, evaluated; a tensor where no value of the tape goes in, else its slot."""
        operation = Operation(function, arguments)
        with torch.no_grad():
            value = operation(*(self.values[number] for number in operation.inputs))
        return Slot(self.add(operation, value)) if operation.inputs else value


def record(loss: Callable[[list[Tensor]], Tensor], leaves: list[Tensor]) -> Tape:
    """Evaluate `loss` at the leaves, which require a gradient, and keep what led to its value.

    What runs without gradients, is detached or is no floating-point number counts as constant, as for autograd.

    Raises:
        Unrecorded: the value does not come from the leaves, a value is overwritten that something else looks at, or numbers are
            complex.
    """
    recording = _Recording(leaves)
    with torch.enable_grad(), recording:
        value = loss(leaves)
    return recording.finished(value)


class _Recording(TorchDispatchMode):
    """Sees every operation below autograd, so that gradients taken inside the loss are operations too."""

    def __init__(self, leaves: list[Tensor]) -> None:
        super().__init__()
        self.tape = Tape([leaf.detach() for leaf in leaves])
        self.numbers = {id(leaf): number for number, leaf in enumerate(leaves)}
        self.alive: list[tuple[Tensor, int]] = []
        """Keeps objects whose identity counts, each with the version in which the tape means it."""
        self.fresh: list[Tensor] = list(leaves)
        """The same before autograd, which comes after an operation, has counted its version."""
        self.looking: dict[int, int] = {}
        """By storage: how many values of the tape look at it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._settle()
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor)]
        depends = any(id(entry) in self.numbers for entry in tensors)
        if any(entry.requires_grad and not entry.is_leaf and id(entry) not in self.numbers for entry in tensors):
            raise Unrecorded(f"{func} takes a tensor of unknown origin")
        if not depends or func is aten.detach.default or not torch.is_grad_enabled():
            if depends and func._schema.is_mutable:
                raise Unrecorded(f"{func} writes without a gradient")
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            return self._write(func, args, kwargs)
        operation = self._operation(func, args, kwargs, tensors)
        result = func(*args, **kwargs)
        several = isinstance(result, (tuple, list))
        for which, entry in enumerate(result if several else (result,)):
            self._keep(operation, which if several else None, entry)
        return result

    def _operation(self, func: Any, args: tuple, kwargs: dict, tensors: list[Tensor]) -> Operation:
        self.fresh += [entry for entry in tensors if id(entry) not in self.numbers and not entry.is_inference()]

        def slot(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return Slot(self.numbers[id(leaf)]) if id(leaf) in self.numbers else leaf.detach()
            return leaf

        return Operation(func, mapped(slot, args), mapped(slot, kwargs))

    def _keep(self, operation: Operation, which: int | None, value: Any) -> None:
        if isinstance(value, Tensor) and value.is_complex():
            raise Unrecorded("complex numbers")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return
        place = value.untyped_storage().data_ptr()
        self.looking[place] = self.looking.get(place, 0) + 1
        self.fresh.append(value)
        one = Operation(operation.function, operation.arguments, operation.keywords, which)
        self.numbers[id(value)] = self.tape.add(one, value)

    def _write(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """An operation in place as one that is not, on a value that nothing else looks at."""
        name, target = func._schema.name.partition("::")[2], args[0]
        plain = getattr(getattr(aten, name.removesuffix("_"), None), func._overloadname, None)
        number = self.numbers.get(id(target))
        written = [entry.alias_info is not None and entry.alias_info.is_write for entry in func._schema.arguments]
        alone = self.looking.get(target.untyped_storage().data_ptr()) == 1 and target._base is None
        if not name.endswith("_") or plain is None or number is None or any(written[1:]) or not alone:
            raise Unrecorded(f"{func} writes into a value that something else looks at")
        tensors = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor)]
        operation = self._operation(plain, args, kwargs, tensors)
        self.tape.values[number] = target.clone()
        func(*args, **kwargs)
        self.alive = [(entry, version) for entry, version in self.alive if entry is not target]
        self.fresh.append(target)
        self.numbers[id(target)] = self.tape.add(operation, target)
        return target

    def _settle(self) -> None:
        self.alive += [(entry, entry._version) for entry in self.fresh]
        self.fresh = []

    def finished(self, value: Tensor) -> Tape:
        self._settle()
        number = self.numbers.get(id(value))
        if number is None:
            raise Unrecorded("the loss is no result of recorded operations")
        if any(entry._version != version for entry, version in self.alive):
            raise Unrecorded("a tensor was overwritten after it was used")
        tape = self.tape
        tape.values = [entry.detach() for entry in tape.values]
        if number != len(tape.values) - 1:
            tape.add(Operation(aten.alias.default, (Slot(number),)), tape.values[number])
        return tape
