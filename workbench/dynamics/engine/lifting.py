"""Taking the tensors out of problems, rules and closures, and putting others in their place.

A step of a run is a function of everything it can reach: the parameters, but also the problem's data and the rule's
hyper-parameters, which in a sweep differ from run to run. To hand all of it to a compiler as arguments, `lift` walks through
dataclasses, containers, closures, bound methods and `functools.partial`, and returns the tensors it met, a hashable
description of the rest, and a function that rebuilds the object around other tensors.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor

Rebuild = Callable[[list[Tensor]], Any]
_PLAIN = (int, float, bool, str, bytes, complex, type(None))


class Lifted:
    """The tensors of an object, its structure, and the way back."""

    def __init__(self, thing: Any) -> None:
        self.tensors: list[Tensor] = []
        self._kept: list[Any] = []
        self.structure, self._rebuild = self._walk(thing)

    def rebuild(self, tensors: list[Tensor]) -> Any:
        """The object with `tensors` (in the order of `self.tensors`) in place of its own."""
        return self._rebuild(tensors)

    def _walk(self, thing: Any) -> tuple[Hashable, Rebuild]:
        if isinstance(thing, Tensor):
            position = len(self.tensors)
            self.tensors.append(thing)
            return "tensor", lambda tensors: tensors[position]
        if isinstance(thing, _PLAIN):
            return thing, lambda tensors: thing
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            return self._several(type(thing), list(thing), lambda parts: type(thing)(*parts))
        if isinstance(thing, (tuple, list)):
            return self._several(type(thing), list(thing), type(thing))
        if isinstance(thing, dict):
            names = tuple(thing)
            return self._several(
                (dict, names), list(thing.values()), lambda parts: dict(zip(names, parts, strict=True))
            )
        if isinstance(thing, types.MethodType):
            function = thing.__func__
            return self._several(function, [thing.__self__], lambda parts: types.MethodType(function, parts[0]))
        if isinstance(thing, functools.partial):
            parts = [thing.func, thing.args, thing.keywords]
            return self._several(functools.partial, parts, lambda new: functools.partial(new[0], *new[1], **new[2]))
        if isinstance(thing, types.FunctionType) and (thing.__closure__ or thing.__defaults__):
            return self._closure(thing)
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            return self._dataclass(thing)
        # Anything else counts as fixed. It is kept alive, so that its id stays its own.
        self._kept.append(thing)
        return (type(thing), id(thing)), lambda tensors: thing

    def _several(
        self, kind: Hashable, parts: list[Any], assemble: Callable[[list[Any]], Any]
    ) -> tuple[Hashable, Rebuild]:
        walked = [self._walk(part) for part in parts]
        structure = (kind, tuple(structure for structure, _ in walked))
        return structure, lambda tensors: assemble([rebuild(tensors) for _, rebuild in walked])

    def _closure(self, function: types.FunctionType) -> tuple[Hashable, Rebuild]:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]

        def assemble(parts: list[Any]) -> types.FunctionType:
            closure = tuple(types.CellType(part) for part in parts[1:])
            made = types.FunctionType(function.__code__, function.__globals__, function.__name__, parts[0], closure)
            made.__kwdefaults__ = function.__kwdefaults__
            return made

        return self._several(function.__code__, [function.__defaults__, *cells], assemble)

    def _dataclass(self, thing: Any) -> tuple[Hashable, Rebuild]:
        names = [field.name for field in dataclasses.fields(thing)]

        def assemble(parts: list[Any]) -> Any:
            # Not dataclasses.replace: validation in __post_init__ has been done and may look at values.
            made = copy.copy(thing)
            for name, part in zip(names, parts, strict=True):
                object.__setattr__(made, name, part)
            return made

        return self._several((type(thing), tuple(names)), [getattr(thing, name) for name in names], assemble)
