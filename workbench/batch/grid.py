"""From a request to its jobs: grids, zipped lists, sweep files; everything is validated before anything starts."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import claims
from workbench.batch import papers
from workbench.batch.jobs import Job, code_hash
from workbench.batch.papers import CardError, ParameterError
from workbench.texts import read_text


class RequestError(ValueError):
    """A request that makes no jobs; the message lists every problem."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        papers: slugs; empty means all that have a notebook.
        preset: a preset of the card.
        fixed: one value per parameter.
        grid: values per parameter, every combination.
        zipped: values per parameter, taken together; all lists equally long.
    """

    papers: Sequence[str] = ()
    preset: str = "laptop"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    zipped: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def points(self) -> list[dict[str, Any]]:
        """The given parameters of every job.

        Raises:
            RequestError: for names given twice, empty lists, lists of unequal length.
        """
        problems = []
        places = {"-p": self.fixed, "--grid": self.grid, "--zip": self.zipped}
        for one, other in itertools.combinations(places, 2):
            problems += [f"{name}: given in {one} and in {other}" for name in places[one] if name in places[other]]
        problems += [f"{name}: no values" for values in (self.grid, self.zipped) for name in values if not values[name]]
        problems += [f"{name}: {twice}" for name in self.grid if (twice := _given_twice(self.grid[name]))]
        lengths = {name: len(values) for name, values in self.zipped.items()}
        if len(set(lengths.values())) > 1:
            listing = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            problems.append(f"--zip needs equally many values: {listing}")
        if problems:
            raise RequestError("\n".join(problems))
        rows = [dict(zip(self.zipped, row, strict=True)) for row in zip(*self.zipped.values(), strict=True)] or [{}]
        columns = [dict(zip(self.grid, row, strict=True)) for row in itertools.product(*self.grid.values())]
        return [{**self.fixed, **column, **row} for column in columns for row in rows]


# JSON's numbers, and those that people leave a zero out of. `05`, `1_000` or `+5` are none: they may be a slip.
_NUMBER = re.compile(r"-?((0|[1-9][0-9]*)\.?|(0|[1-9][0-9]*)?\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_value(text: str, kind: str) -> Any:
    """One parameter's value from the command line, for a card's type; text that doesn't fit is left for the card to refuse.

    Strings are taken as they are. Lists are JSON (`[1, 2]`); everything else is JSON too (`true`, `1e-3`, `null`), and a
    number may begin or end with its point (`.5`, `5.`).
    """
    if kind == "str":
        return None if text == "null" else text
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        lowered = text.strip().lower()
        if lowered in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[lowered]
        if _NUMBER.fullmatch(text.strip()):
            return float(text)
        return text


def parse_values(text: str, kind: str) -> list[Any]:
    """Several values separated by commas, or a JSON list of values (needed for lists, and for strings with commas).

    Raises:
        RequestError: for an empty value between or after commas.
    """
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text, parse_constant=str)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, list) and (not kind.startswith("list[") or all(isinstance(v, list) for v in values)):
            return values
    if kind.startswith("list["):
        return [parse_value(text, kind)]
    if not text:
        return []
    parts = text.split(",")
    if not all(part.strip() for part in parts):
        raise RequestError(f'{text!r} has an empty value; an empty text is written in a list, as in \'["a", ""]\'')
    return [parse_value(part if kind == "str" else part.strip(), kind) for part in parts]


def assignments(texts: Sequence[str], option: str, slugs: Sequence[str], several: bool) -> dict[str, Any]:
    """`name=value` texts as a dict, read by the types in the papers' cards.

    Raises:
        RequestError: for a text without `=` or a name given twice.
    """
    kinds: dict[str, str] = {}
    for slug in slugs:
        for name, parameter in claims.card(slug).parameter_specs.items():
            kinds.setdefault(name, parameter.type)
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name:
            problems.append(f"{option} {text!r}: write {option} name=value{',value' if several else ''}")
        elif name in found:
            problems.append(f"{option} {name}: given twice")
        else:
            try:
                found[name] = (parse_values if several else parse_value)(value, kinds.get(name, "int"))
            except RequestError as error:
                problems.append(f"{option} {name}: {error}")
    if problems:
        raise RequestError("\n".join(problems))
    return found


def read_sweep(path: Path) -> list[Request]:
    """Requests of a sweep file.

        preset = "paper"                       # the same keys may stand at the top for all sweeps

        [[sweep]]
        paper = "eigenvalue-filtering"         # or papers = [...]
        parameters = { n_seeds = 20 }
        grid = { rho = [0.02, 0.06, 0.2] }
        zip = { a = [1, 2], b = [3, 4] }

    Raises:
        RequestError: naming the file and every key that doesn't fit.
    """
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"{path}: {error}") from None
    except ValueError as error:
        raise RequestError(str(error)) from None
    sweeps = content.pop("sweep", [{}])
    kinds = {"paper": str, "papers": list, "preset": str, "parameters": dict, "grid": dict, "zip": dict}
    problems, requests = [], []
    if not isinstance(sweeps, list) or not all(isinstance(sweep, dict) for sweep in sweeps):
        raise RequestError(f"{path}: sweep must be a list of tables, [[sweep]]")
    for number, sweep in enumerate(sweeps, 1):
        merged = {**content, **sweep}
        for name, value in merged.items():
            if name not in kinds:
                problems.append(f"sweep {number}: unknown key {name!r}; known: {', '.join(kinds)}")
            elif not isinstance(value, kinds[name]):
                problems.append(f"sweep {number}: {name} must be a {kinds[name].__name__}, not {value!r}")
        for table in ("grid", "zip"):
            for name, values in merged.get(table, {}).items() if isinstance(merged.get(table, {}), dict) else ():
                if not isinstance(values, list):
                    problems.append(f"sweep {number}: {table}.{name} must be a list of values, not {values!r}")
        if not problems:
            slugs = merged.get("papers", []) + ([merged["paper"]] if "paper" in merged else [])
            requests.append(
                Request(
                    slugs,
                    merged.get("preset", "laptop"),
                    merged.get("parameters", {}),
                    merged.get("grid", {}),
                    merged.get("zip", {}),
                )
            )
    if problems:
        raise RequestError("\n".join(f"{path}: {problem}" for problem in problems))
    return requests


def plan(requests: Sequence[Request]) -> list[Job]:
    """The jobs of all requests, each once, in order.

    Raises:
        RequestError: listing every problem of every request.
    """
    problems: dict[str, None] = {}
    jobs: dict[str, Job] = {}
    for request in requests:
        slugs = list(request.papers) or [slug for slug in papers.known() if papers.notebook_of(slug).is_file()]
        if not slugs:
            problems["no paper has a notebook yet"] = None
        try:
            points = request.points()
        except RequestError as error:
            problems.update(dict.fromkeys(str(error).splitlines()))
            points = [dict(request.fixed)]
        swept = (*request.grid, *request.zipped)
        for slug in slugs:
            try:
                card, notebook = papers.find(slug), papers.notebook_of(slug)
                if not notebook.is_file():
                    raise CardError(f"{slug}: there is no notebook {notebook.name} in {notebook.parent.name}/")
                code_hash(notebook)
            except (CardError, ValueError, OSError) as error:
                problems[str(error)] = None
                continue
            for point in points:
                try:
                    values = papers.resolve(slug, request.preset, point)
                except (ParameterError, CardError) as error:
                    problems.update(dict.fromkeys(f"{slug}: {line.strip()}" for line in _lines(error)))
                    continue
                job = Job(slug, notebook, card, request.preset, values, swept)
                jobs.setdefault(job.key, job)
    if problems:
        raise RequestError("\n".join(problems))
    return list(jobs.values())


def _given_twice(values: Sequence[Any]) -> str:
    """Words for the first value that equals an earlier one though it is written in another way, as 0 and -0.0 do."""
    for index, value in enumerate(values):
        for earlier in values[:index] if isinstance(value, (int, float)) and not isinstance(value, bool) else ():
            equal = not isinstance(earlier, bool) and earlier == value
            if equal and (repr(float(earlier)) != repr(float(value))):
                return f"{earlier!r} and {value!r} are the same value"
    return ""


def _lines(error: ValueError) -> list[str]:
    """The problems in an error of the claims package, which puts several under a heading."""
    first, *rest = str(error).splitlines()
    return rest or [first]
