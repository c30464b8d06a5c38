"""Whether a notebook computes with the parameters that its job was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ParameterError

ASKED, SEEN = "asked.json", "seen.json"
"""In a job's folder: paper and parameters that were asked for, and what `card.parameters` made of each of its calls."""


def confirm(folder: Path, paper: str, values: Mapping[str, Any]) -> None:
    """Note that the parameters of this paper were read in a job.

    Raises:
        ParameterError: where they are not what the job was asked for; names each, and what may have gone wrong.
    """
    try:
        asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # nobody asked for anything: a folder that is no job of `workbench run`
    if asked["paper"] != paper:
        return
    # As JSON: 1, 1.0 and True are three values.
    found = {name: json.dumps(value, sort_keys=True) for name, value in values.items()}
    wanted = {name: json.dumps(value, sort_keys=True) for name, value in asked["parameters"].items()}
    problems = [
        f"{name} = {found.get(name, 'nothing')} reached card.parameters, but the job was asked for {wanted.get(name, 'nothing')}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    before = json.loads((folder / SEEN).read_text(encoding="utf-8")) if (folder / SEEN).exists() else []
    (folder / SEEN).write_text(json.dumps([*before, problems]), encoding="utf-8")
    if problems:
        raise ParameterError("\n".join([*problems, _ADVICE]))


_ADVICE = (
    "Does a cell after the parameters cell assign to it? Has the parameters cell kept its tag `parameters`? "
    "Is every parameter handed to card.parameters?"
)


def difference(folder: Path) -> str | None:
    """After the last cell: why this was not the job that was asked for, None where every call saw the job's values."""
    if not (folder / SEEN).exists():
        return "the notebook never read its parameters: `p = card.parameters(...)` is missing or was not reached"
    problems = [problem for call in json.loads((folder / SEEN).read_text(encoding="utf-8")) for problem in call]
    return "\n".join([*dict.fromkeys(problems), _ADVICE]) if problems else None
