"""Finding and reading cards: papers/<slug>/paper.toml."""

from __future__ import annotations

import keyword
import os
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.texts import read_text

from .errors import CardError, did_you_mean
from .parameters import rules
from .parameters.specification import Parameter
from .parameters.values import RESERVED_NAMES, ParameterError, complaint, resolve
from .written import reach, schema
from .written.schema import CardFile

SHIPPED = "shipped"
"""Folder of the installed package with its cards and notebooks."""


def folders() -> Iterator[Path]:
    """Where cards are looked for, in this order.

    The folder named by WORKBENCH_PAPERS alone, if that variable is set; otherwise `papers/` in the current directory
    and in each of its parents, then `papers/` beside the package's source or, in an installed package, inside it.
    """
    if named := os.environ.get("WORKBENCH_PAPERS"):
        yield Path(named)
        return
    here = Path.cwd()
    for parent in [here, *here.parents]:
        yield parent / "papers"
    package = Path(__file__).resolve().parents[1]
    yield package.parent / "papers"
    yield package / SHIPPED / "papers"


def paths() -> dict[str, Path]:
    """Every known card's file by slug; of two cards with one slug the nearer one counts."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob("*/paper.toml")):
            found.setdefault(file.parent.name, file)
    return dict(sorted(found.items()))


def find(slug: str) -> Path:
    """The file of a paper's card.

    Raises:
        CardError: when there is no such paper; lists the known ones.
    """
    known = paths()
    if slug in known:
        return known[slug]
    listing = ", ".join(known) if known else "none (set WORKBENCH_PAPERS or start inside the repository)"
    raise CardError(f"no paper {slug!r}{did_you_mean(slug, known)}. Known papers: {listing}")


def read(path: Path) -> CardFile:
    """Read and check one card.

    Raises:
        CardError: naming the file and, for every problem, the key and the reason.
    """
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror})") from None
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"{path}: is not valid TOML: {error}") from None
    except ValueError as error:
        raise CardError(str(error)) from None
    try:
        card = CardFile.model_validate(content)
    except ValidationError as error:
        problems = list(dict.fromkeys(_in_words(one, content) for one in error.errors()))
        raise _refusal(path, problems) from None
    card = with_standing_parameters(card)
    problems = list(_across_parts(card, path))
    if not problems:
        problems = list(_presets_hold(card))
    if not problems:
        problems = list(reach.problems(card))
    if problems:
        raise _refusal(path, problems)
    if lacking := list(reach.missing(card)):
        warnings.warn(f"{path.parent.name} is a draft: " + "; ".join(lacking), stacklevel=2)
    return card


def control_sets(card: CardFile) -> dict[str, dict[str, Any]]:
    """What each named control sets, in the card's order; claims that share a name share what it sets."""
    found: dict[str, dict[str, Any]] = {}
    for claim in card.claim:
        for control in claim.control:
            found[control.name] = control.set or found.get(control.name, {})
    return found


def with_standing_parameters(card: CardFile) -> CardFile:
    """The card with the two parameters that every notebook has: `seed0` and `control`."""
    names = ["none", *control_sets(card)]
    standing = {
        "seed0": Parameter(type="int", default=0, min=0, meaning="first seed of every experiment"),
        "control": Parameter(
            type="str",
            default="none",
            choices=names,
            meaning="negative control: a change of the physics under which its claims must not be reproduced",
        ),
    }
    given = {name: parameter for name, parameter in card.parameters.items() if name != "control"}
    return card.model_copy(update={"parameters": {**given, **{n: p for n, p in standing.items() if n not in given}}})


def _refusal(path: Path, problems: list[str]) -> CardError:
    if len(problems) == 1:
        return CardError(f"{path}: {problems[0]}")
    return CardError("\n".join([f"{path}: {len(problems)} problems", *(f"  {line}" for line in problems)]))


def _across_parts(card: CardFile, path: Path) -> Iterator[str]:
    """Problems that no single table shows: names used twice, references, presets, defaults."""
    if card.paper.slug != path.parent.name:
        yield f"paper.slug: is {card.paper.slug!r} but the folder is called {path.parent.name!r}; they must agree"
    origins: dict[str, str] = {}
    for claim in card.claim:
        if claim.id in origins:
            yield f"claim {claim.id!r}: the id is used twice; ids must differ"
        origins[claim.id] = claim.origin
    for claim in card.claim:
        if claim.printed is None:
            continue
        if claim.printed not in origins:
            hint = did_you_mean(claim.printed, origins)
            yield f"claim {claim.id!r}, printed: there is no claim {claim.printed!r}{hint}"
        elif origins[claim.printed] != "printed":
            yield f"claim {claim.id!r}, printed: {claim.printed!r} is {origins[claim.printed]!r}, not 'printed'"
    for name, parameter in card.parameters.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or name in RESERVED_NAMES:
            yield f"parameters.{name}: cannot be used as a parameter's name; choose another one"
        if parameter.default is None and parameter.default_from is not None:
            if reason := rules.problem(parameter.default_from, set(card.parameters) - {name}):
                yield f"parameters.{name}.default_from: {reason}"
        elif parameter.default is None and not parameter.nullable:
            yield f"parameters.{name}: needs a default (or nullable = true, or default_from)"
        elif reason := complaint(name, parameter.default, parameter):
            yield f"parameters.{name}.default: {reason}"
        for choice in parameter.choices or ():
            bare = parameter.model_copy(update={"choices": None, "type": parameter.entry_type, "min_items": None})
            if choice is not None and (reason := complaint(name, choice, bare)):
                yield f"parameters.{name}.choices: {reason}"
    for preset, overrides in card.presets.items():
        for name, value in overrides.items():
            if name not in card.parameters:
                yield f"presets.{preset}.{name}: there is no such parameter{did_you_mean(name, card.parameters)}"
            elif reason := complaint(name, value, card.parameters[name]):
                yield f"presets.{preset}.{name}: {reason}"
    for number, rule in enumerate(card.rule, 1):
        if reason := rules.problem(rule.requires, set(card.parameters)):
            yield f"rule {number}, requires: {reason}"
    yield from _controls_fit(card)


def _controls_fit(card: CardFile) -> Iterator[str]:
    """Controls set parameters that exist to values they may have; every combination keeps the card's rules."""
    sets = control_sets(card)
    for claim in card.claim:
        for name in claim.when:
            if name not in card.parameters:
                yield f"claim {claim.id!r}, when: there is no parameter {name!r}{did_you_mean(name, card.parameters)}"
        for control in claim.control:
            place = f"claim {claim.id!r}, control {control.name!r}"
            if control.set and control.set != sets[control.name]:
                yield f"{place}: sets {control.set}, but another claim's control of this name sets {sets[control.name]}"
            if not sets[control.name]:
                yield f"{place}: sets no parameter (a control changes the physics: set = {{ parameter = value }})"
            for name, value in control.set.items():
                if name not in card.parameters:
                    yield f"{place}: there is no parameter {name!r}{did_you_mean(name, card.parameters)}"
                elif reason := complaint(name, value, card.parameters[name]):
                    yield f"{place}: {reason}"


def _presets_hold(card: CardFile) -> Iterator[str]:
    """Every preset, alone and with every control, keeps the card's rules."""
    sets = control_sets(card)
    relations = [(rule.requires, rule.message) for rule in card.rule]
    for preset in ("laptop", *card.presets):
        for control in ("none", *sets):
            try:
                given = {"control": control}
                resolve(card.parameters, preset, card.presets.get(preset, {}), given, relations, sets)
            except ParameterError as error:
                what = f"preset {preset}" + (f" with control {control!r}" if control != "none" else "")
                yield f"{what}: {' '.join(str(error).split())}"


_MODELS: dict[str, Any] = {
    "paper": schema.Citation,
    "claim": schema.Claim,
    "condition": schema.Condition,
    "control": schema.Control,
    "amended": schema.Amendment,
    "rule": schema.Relations,
}


def _place(location: tuple[int | str, ...], content: Any) -> tuple[str, Any]:
    """The key in the words of the card (`claim 2 'some-id', condition 1, threshold`), and what stands there."""
    words: list[str] = []
    for key in location:
        if isinstance(key, int) and isinstance(content, list):
            content = content[key] if key < len(content) else None
            label = content.get("id", content.get("name")) if isinstance(content, dict) else None
            words[-1] += f" {key + 1}" + (f" {label!r}" if label else "")
        elif isinstance(content, dict):
            content = content.get(key)
            words.append(str(key))
    return ", ".join(words) if any(" " in word for word in words) else ".".join(words), content


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the table around a location may have."""
    names = [key for key in location[:-1] if isinstance(key, str)]
    if not names:
        return list(CardFile.model_fields)
    if names[0] == "parameters":
        return list(Parameter.model_fields)
    return list(_MODELS[names[-1]].model_fields) if names[-1] in _MODELS else []


def _in_words(error: Any, content: dict[str, Any]) -> str:
    """One pydantic error as a sentence without pydantic's vocabulary."""
    location = tuple(key for key in error["loc"] if key != "[key]")
    place, value = _place(location, content)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = _siblings(location)
        hint = did_you_mean(str(location[-1]), known)
        return f"{place}: unknown key{hint or '; known: ' + ', '.join(known)}"
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "value_error":
        return f"{place}: {context['error']}"
    if kind == "literal_error":
        shown = location[-1] if "[key]" in error["loc"] else value
        hint = did_you_mean(str(shown), context["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        return f"{place}: {shown!r} is not one of {context['expected']}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{place}: {value!r} may only contain small letters, digits and hyphens"
    if kind in ("too_short", "string_too_short"):
        return f"{place}: must not be empty"
    reason = error["msg"].removeprefix("Input ").replace("valid dictionary", "table").replace("valid ", "")
    reason = reason.replace(" or instance of Citation", "")
    shown = "" if isinstance(value, (dict, list)) else f"{value!r} "
    return f"{place}: {shown}{reason}"
