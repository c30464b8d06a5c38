"""Figures out of executed notebooks, with captions from the headings above them."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

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
            heading, count = (plain(lines[-1]), 0) if lines else (heading, count)
        for output in cell.get("outputs", []):
            uri = _picture(output.get("data") or {})
            if uri:
                count += 1
                caption = heading if count == 1 or not heading else f"{heading} ({count})"
                found.append(Figure(uri, caption or f"Figure {len(found) + 1}", _alt(caption, output)))
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


def _alt(caption: str, output: dict) -> str:
    words = (output.get("metadata") or {}).get("alt")
    return str(words) if words else f"Plot under the heading “{caption}”" if caption else "Plot"


def plain(markdown: str) -> str:
    """A heading without its markup; TeX's Greek letters as characters, its other commands as their names.

    >>> plain(r"**Test loss** against $\\rho$ ([Fig. 2](x))")
    'Test loss against ρ (Fig. 2)'
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"\\([A-Za-z]+)", _letter, text)
    text = re.sub(r"[*`${}]", "", text)
    return " ".join(re.sub(r"(?<!\w)_|_(?!\w)", "", text).split())


def _letter(match: re.Match) -> str:
    name = {"lambda": "lamda", "varepsilon": "epsilon"}.get(match[1].lower(), match[1].lower())
    case = "CAPITAL" if match[1][0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name.upper()}")
    except KeyError:
        return match[1]
