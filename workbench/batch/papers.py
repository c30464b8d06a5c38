"""Where a paper's card and notebook are, and the jobs that a request for it makes."""

from __future__ import annotations

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
