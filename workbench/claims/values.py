"""Checking parameter values against a card, with every problem reported at once."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .errors import ParameterError, did_you_mean
from .schema import Parameter

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
        return {name: list(value) if isinstance(value, list) else value for name, value in self._values.items()}

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
    if limits:
        text += (", each " if parameter.is_list else ", ") + " and ".join(limits)
    if parameter.min_items:
        text += f", at least {parameter.min_items} of them"
    return text + (", or None" if parameter.nullable else "")


def _entry(value: Any, parameter: Parameter) -> Any:
    """`value` as the plain Python object of the entry type; raises ValueError with the reason."""
    kind = parameter.entry_type
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
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


def convert(value: Any, parameter: Parameter) -> Any:
    """`value` checked and converted to the parameter's type.

    Raises:
        ValueError: with the reason in words, without the parameter's name.
    """
    if value is None:
        if parameter.nullable:
            return None
        raise ValueError("None is not a value")
    if not parameter.is_list:
        return _entry(value, parameter)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"{value!r} is not a list")
    entries = list(value)
    if parameter.min_items and len(entries) < parameter.min_items:
        raise ValueError(f"{entries!r} has {len(entries)} entries")
    return [_entry(entry, parameter) for entry in entries]


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
    rules: Iterable[Rule] = (),
) -> Parameters:
    """The parameters of a run: the card's defaults, changed by the preset, changed by what was given explicitly.

    A given value equal to the card's default counts as left at its default, so that a notebook's parameters cell (which
    repeats the defaults) does not switch its presets off.

    Raises:
        ParameterError: naming every unknown name, every value outside its range and every broken rule.
    """
    problems, values = [], {}
    for name in given:
        if name not in parameters:
            hint = did_you_mean(name, parameters) or f"; known: {', '.join(parameters) or 'none'}"
            problems.append(f"{name} = {given[name]!r}: this paper has no such parameter{hint}")
    for name, parameter in parameters.items():
        default = None if parameter.default is None else convert(parameter.default, parameter)
        values[name] = default
        try:
            values[name] = convert(preset[name], parameter) if name in preset else default
            if name in given and (explicit := convert(given[name], parameter)) != default:
                values[name] = explicit
        except ValueError:
            source = given if name in given else preset
            problems.append(complaint(name, source[name], parameter) or f"{name}: not allowed")
    resolved = Parameters(values, preset_name)
    if not problems:
        problems.extend(message for holds, message in rules if not holds(resolved))
    if problems:
        raise ParameterError("\n".join([f"parameters refused ({len(problems)}):", *(f"  {line}" for line in problems)]))
    return resolved
