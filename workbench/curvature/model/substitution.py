"""A user's model with other tensors in the place of its parameters, for the time of an evaluation and its derivatives."""

from __future__ import annotations

import collections
import contextlib
import functools
import operator
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_TORCH_OWN = frozenset(vars(nn.Module()))
"""Attributes of every module. Their contents change by registration only, and hooks of ours remove themselves."""


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def substituted(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block, the parameters and buffers named in `tensors` are these tensors.

    Everything that depends on the parameters belongs inside: the model, a loss function that reads them, and the derivative
    (layers with checkpoints or adjoint equations run the model again while it is taken). A parameter that the model reaches
    under several names, or through a module used twice, is replaced wherever it is. Afterwards the model is as it was before
    (see `untouched`). May be nested.

    Raises:
        ValueError: a name that the model does not have, or a TorchScript module, whose parameters cannot be replaced.
    """
    places = Places(model)
    with untouched(model), places.holding(tensors):
        yield


class Places:
    """Where a model keeps its parameters and buffers, found once for many substitutions."""

    def __init__(self, model: nn.Module) -> None:
        for path, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise ValueError(
                    f"{path or 'the model'} is a TorchScript module, whose parameters cannot be replaced; pass the Python "
                    "module it was made from"
                )
        self._slots = _slots(model)

    def names(self) -> set[str]:
        return set(self._slots)

    # pyrefly: ignore[deprecated]
    @contextlib.contextmanager
    def holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """The substitution alone: attributes that an evaluation leaves in the model stay."""
        unknown = [name for name in tensors if name not in self._slots]
        if unknown:
            raise ValueError(f"the model has no parameters or buffers named {unknown}; it has {sorted(self._slots)}")
        own = [(holder, attribute, holder[attribute]) for name in tensors for holder, attribute in self._slots[name]]
        try:
            for name, tensor in tensors.items():
                for holder, attribute in self._slots[name]:
                    holder[attribute] = tensor
            yield
        finally:
            for holder, attribute, tensor in reversed(own):
                holder[attribute] = tensor


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def untouched(*models: nn.Module) -> Iterator[None]:
    """Whatever evaluations inside the block leave in the models is gone afterwards.

    Parameters, buffers and attributes of every module are the objects that they were, lists and dicts among them have their
    old contents, and buffers of modules in training mode their old values.
    """
    memories = [_Memory(module) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for memory in memories:
            memory.restore()


class _Memory:
    """What a module holds at one time."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        own = [value for name, value in self.attributes.items() if name not in _TORCH_OWN]
        containers = [value for value in own if type(value) in (list, dict)]
        if not isinstance(module, torch.jit.ScriptModule):
            containers += [module._parameters, module._buffers]
        self.contents = [(value, value.copy()) for value in containers]
        statistics = module._buffers.values() if module.training and module._buffers else ()
        self.values = [(tensor, tensor.clone()) for tensor in statistics if tensor is not None]

    def restore(self) -> None:
        attributes = vars(self.module)
        if not _same(attributes, self.attributes):
            attributes.clear()
            attributes.update(self.attributes)
        for container, contents in self.contents:
            if not _same(container, contents):
                container.clear()
                container.extend(contents) if isinstance(container, list) else container.update(contents)
        for tensor, value in self.values:
            if not torch.equal(tensor, value):
                # Batch norm changes its statistics without a new version; so does this, for graphs that have saved them.
                tensor.data.copy_(value)


def _same(now: Any, before: Any) -> bool:
    """Whether a list or dict holds the very objects that it held before."""
    if len(now) != len(before):
        return False
    if isinstance(now, list):
        return all(map(operator.is_, now, before))
    return now.keys() == before.keys() and all(map(operator.is_, now.values(), before.values()))


def _slots(model: nn.Module) -> dict[str, list[tuple[dict, str]]]:
    """Every name of a parameter or buffer, and the places (a module's dict and the key in it) that hold its tensor."""
    names: dict[str, int] = {}
    places: dict[int, dict[tuple[int, str], tuple[dict, str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for holder in (module._parameters, module._buffers):
            for attribute, tensor in holder.items():
                if tensor is not None:
                    names[f"{path}.{attribute}" if path else attribute] = id(tensor)
                    places.setdefault(id(tensor), {})[id(holder), attribute] = (holder, attribute)
    return {name: list(places[tensor].values()) for name, tensor in names.items()}


def modules_of(*things: Any) -> list[nn.Module]:
    """The modules that functions reach through what they close over, their defaults, arguments bound to them and the globals
    they name.
    """
    found: list[nn.Module] = []
    seen: set[int] = set()
    queue = collections.deque((thing, 0) for thing in things)
    while queue:
        thing, depth = queue.popleft()
        if (
            id(thing) in seen
            or depth > 6
            or isinstance(thing, (Tensor, str, bytes, int, float, type, types.ModuleType))
        ):
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append(thing)
        else:
            queue.extend((part, depth + 1) for part in _parts(thing))
    inside = {id(module) for model in found for module in model.modules() if module is not model}
    return [model for model in found if id(model) not in inside]


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        cells = [_content(cell) for cell in thing.__closure__ or ()]
        named = [thing.__globals__.get(name) for name in _names(thing.__code__)]
        near = [
            entry for entry in named if isinstance(entry, (nn.Module, functools.partial)) or _written_by_users(entry)
        ]
        return [*cells, *near, *(thing.__defaults__ or ())]
    if isinstance(thing, (list, tuple)) and len(thing) <= 64:
        return list(thing)
    if isinstance(thing, dict) and len(thing) <= 64:
        return list(thing.values())
    attributes = getattr(thing, "__dict__", {})
    ours = type(thing).__module__.partition(".")[0] not in ("torch", "numpy", "builtins")
    return list(attributes.values()) if ours and len(attributes) <= 64 else []


def _written_by_users(thing: Any) -> bool:
    home = getattr(thing, "__module__", None) or ""
    return isinstance(thing, types.FunctionType) and home.partition(".")[0] not in ("torch", "workbench")


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that its function has not set yet
        return None


def _names(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))
