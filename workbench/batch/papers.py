"""Where a paper's card and notebook are, and the jobs that a request for it makes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench import claims
from workbench.claims import CardError, ParameterError
from workbench.claims import loading as cards

PRESETS = ("smoke", "laptop", "paper")


def known() -> dict[str, Path]:
    """Every card's file by slug."""
    return cards.paths()


def find(slug: str) -> Path:
    """The card's file.

    Raises:
        CardError: when there is no such paper; lists the known ones.
    """
    return cards.find(slug)


def notebook_of(slug: str) -> Path:
    """The paper's notebook, beside the folder of cards; it need not exist."""
    return find(slug).parents[2] / "notebooks" / f"{slug}.ipynb"


def scratch_copy(slug: str, target: Path, values: Mapping[str, Any] | None = None) -> Path:
    """A copy of the paper's notebook to play with, its outputs gone where `values` (parameters) take the place of its own.

    Raises:
        ValueError: when the paper has no notebook yet, or the target exists.
        ParameterError: for values that the card refuses.
    """
    original = notebook_of(slug)
    if not original.is_file():
        raise ValueError(f"{slug} has a card but no notebook yet; `workbench list` shows which have")
    if target.exists():
        raise ValueError(f"{target} exists already; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        shutil.copyfile(original, target)
        return target
    import nbformat

    resolve(slug, "laptop", values)
    notebook: Any = nbformat.read(original, as_version=4)
    place = next(k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    lines = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(f"# Values of the explorer\n{lines}"))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)
    return target


def free_name(folder: Path, name: str) -> Path:
    """The first of name.ipynb, name-2.ipynb, ... that is not there yet."""
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(path for one in names if not (path := folder / f"{one}.ipynb").exists())


def place_of(slug: str) -> tuple[Path, Path] | None:
    """A paper's notebook and card, None where one of them is not here."""
    try:
        card = cards.find(slug)
    except CardError:
        return None
    notebook = notebook_of(slug)
    return (notebook, card) if notebook.is_file() else None


def default_store() -> Path:
    """`runs/` in the repository (beside the folder of cards), or in the current folder outside one."""
    return root() / "runs"


def root() -> Path:
    """The repository (the folder that holds the cards' folder), or the current folder where the cards are the package's own."""
    roots = [file.parents[2] for file in known().values()]
    return next((one for one in roots if one.name != cards.SHIPPED), Path.cwd())


def resolve(slug: str, preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of one job: the card's defaults, changed by the preset, changed by what was given.

    Raises:
        ParameterError: naming everything that is not allowed.
    """
    return claims.card(slug).parameters(preset=preset, **given).model_dump()


__all__ = [
    "PRESETS",
    "CardError",
    "ParameterError",
    "default_store",
    "find",
    "known",
    "notebook_of",
    "place_of",
    "resolve",
]
