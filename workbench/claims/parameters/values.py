"""Checking parameter values against a card, with every problem reported at once."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ParameterError, did_you_mean
from . import rules as relations
from .specification import Parameter

RESERVED_NAMES = frozenset(
    {"preset", "rules", "keys", "values", "items", "get", "model_dump", "self", "None", "True", "False"}
)
"""Names that a parameter cannot have: `p.keys` is something else."""

Rule = tuple[Callable[["Parameters"], bool], str]


class Parameters(Mapping[str, Any]):
    """Validated parameters: `p.n_seeds`, `p["n_seeds"]`, `dict(p)`, `**p`; read-only.

    `p.preset` is the name of the preset that was applied.
    """

    def __init__(self, values: Mapping[str, Any], preset: str):
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "preset", preset)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        hint = did_you_mean(name, values) or f"; known: {', '.join(values)}"
        raise AttributeError(f"no parameter {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"parameters are read-only: pass {name}={value!r} to card.parameters(...) instead")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def model_dump(self) -> dict[str, Any]:
        """The values as a plain dict that can be written as JSON."""
        return copy.deepcopy(self._values)

    def __repr__(self) -> str:
        width = max(map(len, self._values), default=0)
        lines = [f"  {name:<{width}} = {value!r}" for name, value in self._values.items()]
        return "\n".join([f"Parameters (preset {self.preset})", *lines])


def allowed(parameter: Parameter) -> str:
    """What a parameter may be, in words: `"int, >= 1"`, `"list[float], each > 0"`, `"str, one of 'a', 'b'"`."""
    limits = [
        f"{symbol} {bound:g}"
        for symbol, bound in (
            (">=", parameter.min),
            (">", parameter.exclusive_min),
            ("<=", parameter.max),
            ("<", parameter.exclusive_max),
        )
        if bound is not None
    ]
    if parameter.choices is not None:
        limits.append("one of " + ", ".join(map(repr, parameter.choices)))
    text = parameter.type
    if parameter.words is not None:
        text = text.replace("str", "one of " + ", ".join(map(repr, parameter.words)))
    if parameter.fields is not None:
        text += " of " + ", ".join(f"{name} ({allowed(field)})" for name, field in parameter.fields.items())
    if limits:
        text += (", each " if parameter.is_list else ", ") + " and ".join(limits)
    if parameter.min_items:
        text += f", at least {parameter.min_items} of them"
    if parameter.default_from is not None:
        return text + f", or None for {parameter.default_from}"
    return text + (", or None" if parameter.nullable else "")


def _entry(value: Any, parameter: Parameter) -> Any:
    """`value` as the plain Python object of the entry type; raises ValueError with the reason."""
    kind = parameter.entry_type
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if kind == "record":
        return _record(value, parameter)
    if "|" in kind:
        if isinstance(value, str):
            if parameter.words is not None and value not in parameter.words:
                raise ValueError(f"{value!r} is not one of its words" + did_you_mean(value, parameter.words))
            return value
        kind = kind.split(" ")[0]
    if kind == "bool" or isinstance(value, bool):
        fits = kind == "bool" and isinstance(value, bool)
    elif kind == "int":
        fits = isinstance(value, numbers.Integral)
    elif kind == "float":
        fits = isinstance(value, numbers.Real)
    else:
        fits = isinstance(value, str)
    if not fits:
        raise ValueError(f"{value!r} is a {type(value).__name__}")
    if kind == "int":
        value = int(value)
    if kind == "float":
        value = float(value)
        if not np.isfinite(value):
            raise ValueError(f"{value!r} is not finite")
    below = (parameter.min is not None and value < parameter.min) or (
        parameter.exclusive_min is not None and value <= parameter.exclusive_min
    )
    above = (parameter.max is not None and value > parameter.max) or (
        parameter.exclusive_max is not None and value >= parameter.exclusive_max
    )
    if below or above:
        raise ValueError(f"{value!r} is too {'small' if below else 'large'}")
    if parameter.choices is not None and value not in parameter.choices:
        raise ValueError(f"{value!r} is not a choice" + did_you_mean(str(value), map(str, parameter.choices)))
    return value


def _record(value: Any, parameter: Parameter) -> dict[str, Any]:
    fields = parameter.fields or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a record with {', '.join(fields)}")
    if unknown := [name for name in value if name not in fields]:
        raise ValueError(f"{unknown[0]!r} is not a field{did_you_mean(str(unknown[0]), fields)}")
    found = {}
    for name, field in fields.items():
        try:
            found[name] = convert(value.get(name, field.default), field)
        except ValueError as error:
            raise ValueError(f"field {name}: {error}") from None
    return found


def convert(value: Any, parameter: Parameter, depth: int | None = None) -> Any:
    """`value` checked and converted to the parameter's type.

    Raises:
        ValueError: with the reason in words, without the parameter's name.
    """
    depth = parameter.depth if depth is None else depth
    if value is None:
        if parameter.nullable or parameter.default_from is not None:
            return None
        raise ValueError("None is not a value")
    if depth == 0:
        return _entry(value, parameter)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        try:
            inner = convert(value, parameter, depth - 1)
        except ValueError:
            raise ValueError(f"{value!r} is not a list") from None
        raise ValueError(f"{value!r} is not a list: write {[inner]!r}")
    entries = list(value)
    if parameter.min_items and depth == parameter.depth and len(entries) < parameter.min_items:
        raise ValueError(f"{entries!r} has {len(entries)} entries")
    return [convert(entry, parameter, depth - 1) for entry in entries]


def complaint(name: str, value: Any, parameter: Parameter) -> str | None:
    """The sentence that refuses `name = value`, or None when the value is allowed."""
    try:
        convert(value, parameter)
    except ValueError as error:
        shown = "" if repr(value) in str(error) else f" = {value!r}"
        return f"{name}{shown}: {error}; allowed: {allowed(parameter)}. {parameter.meaning}"
    return None


def resolve(
    parameters: Mapping[str, Parameter],
    preset_name: str,
    preset: Mapping[str, Any],
    given: Mapping[str, Any],
    rules: Iterable[tuple[str, str]] = (),
    controls: Mapping[str, Mapping[str, Any]] | None = None,
    functions: Iterable[Rule] = (),
) -> Parameters:
    """The parameters of a run: the card's defaults, changed by the preset, by what was given, by the control in force.

    Args:
        rules: the card's relations, (expression, message).
        controls: what each control sets.
        functions: further relations of the notebook, (function of the parameters, message).

    Raises:
        ParameterError: naming every unknown name, every value outside its range and every broken rule.
    """
    problems, values = [], {}
    for name in given:
        if name not in parameters:
            hint = did_you_mean(name, parameters) or f"; known: {', '.join(parameters) or 'none'}"
            problems.append(f"{name} = {given[name]!r}: this paper has no such parameter{hint}")
    for name, parameter in parameters.items():
        source = given if name in given else preset if name in preset else {name: parameter.default}
        try:
            values[name] = convert(source[name], parameter) if source[name] is not None or source is given else None
        except ValueError:
            problems.append(complaint(name, source[name], parameter) or f"{name}: not allowed")
    if not problems:
        control = (controls or {}).get(values.get("control", "none"), {})
        values |= {name: convert(value, parameters[name]) for name, value in control.items()}
        values = _follow(parameters, values, problems)
    resolved = Parameters(values, preset_name)
    if not problems:
        problems += [f"{message} (needs {text})" for text, message in rules if not _holds(text, values)]
        problems += [message for holds, message in functions if not holds(resolved)]
    if problems:
        raise ParameterError("\n".join([f"parameters refused ({len(problems)}):", *(f"  {line}" for line in problems)]))
    return resolved


def _holds(text: str, values: Mapping[str, Any]) -> bool:
    try:
        return bool(relations.evaluate(text, values))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, IndexError):
        return False  # what cannot be said of these values does not hold


def _follow(parameters: Mapping[str, Parameter], values: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Defaults that follow from other parameters, those first that depend on no other such default."""
    waiting = {n: p for n, p in parameters.items() if p.default_from is not None and values.get(n) is None}
    for _ in range(len(waiting)):
        for name in list(waiting):
            text = waiting[name].default_from or ""
            if relations.names(text) & set(waiting):
                continue
            value = relations.evaluate(text, values)
            kind = waiting[name].entry_type.split(" ")[0]
            value = int(value) if kind == "int" and isinstance(value, float) and value.is_integer() else value
            if reason := complaint(name, value, waiting.pop(name)):
                problems.append(f"{reason} (follows from {text})")
            values[name] = value
    return values
