"""Figures out of executed notebooks, with their own captions or those of the headings above them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import NamedTuple

from workbench.claims.shown.plain_text import plain_text

KINDS = {"image/png": "image/png", "image/jpeg": "image/jpeg", "image/svg+xml": "image/svg+xml"}


class Figure(NamedTuple):
    """A picture as a data URI, with the heading above it and a text for those who can't see it."""

    source: str
    caption: str
    alt: str


def figures(notebook: Path) -> list[Figure]:
    """Every picture in a notebook's outputs, in order; none where the notebook is missing or unreadable."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found, heading, count = [], "", 0
    for cell in cells:
        source = cell.get("source", "")
        source = "".join(source) if isinstance(source, list) else str(source)
        if cell.get("cell_type") == "markdown":
            lines = re.findall(
                r"^#{1,6}\s+(.+?)\s*#*\s*$", re.sub(r"```.*?```", "", source, flags=re.DOTALL), re.MULTILINE
            )
            heading, count = (plain_text(lines[-1]), 0) if lines else (heading, count)
        for output in cell.get("outputs", []):
            uri = _picture(output.get("data") or {})
            if uri:
                count += 1
                caption = heading if count == 1 or not heading else f"{heading} ({count})"
                own, alt = (_told(output, key) for key in ("caption", "alt"))
                caption = own or caption or f"Figure {len(found) + 1}"
                found.append(Figure(uri, caption, alt or f"Plot under the heading “{caption}”"))
    return found


def _picture(data: dict) -> str:
    for kind in KINDS:
        if kind in data:
            content = data[kind]
            content = "".join(content) if isinstance(content, list) else str(content)
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode()).decode()
            content = re.sub(r"\s", "", content)
            if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", content):
                return f"data:{kind};base64,{content}"
    return ""


def _told(output: dict, key: str) -> str:
    """What `workbench.figures.show` left in the picture's metadata."""
    metadata = output.get("metadata") or {}
    own = [metadata, *(part for kind in KINDS if isinstance(part := metadata.get(kind), dict))]
    return next((str(part[key]) for part in own if part.get(key)), "")
