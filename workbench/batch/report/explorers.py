"""The papers' explorers in a report: pictures computed beforehand, moved by the page's script."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any


def fragments(papers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The explorers by paper, each with an equal share of a page; none of papers without one, or too large for its share."""
    from workbench.explorers import static

    known = [slug for slug in (paper["slug"] for paper in papers) if explorer_module(slug)]
    found = {}
    for slug in known:
        explorer = importlib.import_module(explorer_module(slug)).explorer()
        try:
            found[slug] = static.fragment(explorer, static.BUDGET // len(known), level=3)
        except ValueError:
            continue
    return found


def with_theirs(script: str) -> tuple[str, str]:
    """The page's script with that of the explorers, and their style."""
    from workbench.explorers import static

    return f"{script}\n{static.SCRIPT}", static.STYLE


def explorer_module(slug: str) -> str:
    """The module of a paper's explorer; empty where it has none."""
    room = slug.replace("-", "_")
    parent = f"workbench.papers.{room}"
    if not room.isidentifier() or importlib.util.find_spec(parent) is None:
        return ""
    return f"{parent}.explorer" if importlib.util.find_spec(f"{parent}.explorer") else ""
