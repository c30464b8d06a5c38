"""Docstrings are written to be read as text: make reStructuredText of them without losing their lines."""

from __future__ import annotations

import re
from typing import Any

_SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:", "Note:", "Example:", "Examples:")


def process(app: Any, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Escape what reStructuredText would read as markup, and keep indented formulas as they stand."""
    lines[:] = _blocks([line if line.lstrip().startswith(">>>") else _escaped(line) for line in lines])


def signature(app: Any, what: str, name: str, thing: object, options: Any, arguments: str, result: str) -> Any:
    """Types by their last name."""
    return tuple(text and re.sub(r"~?\b(?:\w+\.)+(?=[A-Z]\w)", "", text) for text in (arguments, result))


def skip(app: Any, what: str, name: str, thing: object, skipped: bool, options: Any) -> bool | None:
    """Leave out what a namespace merely imports from elsewhere."""
    home = getattr(thing, "__module__", "") or ""
    return True if what == "module" and home and not home.startswith("workbench") else None


def _escaped(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(
        part if index % 2 else re.sub(r"([\\*|])|(?<=\w)(_)(?!\w)", _escape, part) for index, part in enumerate(parts)
    )


def _escape(found: re.Match[str]) -> str:
    return "\\" + found.group()


def _blocks(lines: list[str]) -> list[str]:
    """Text that is indented below a line of prose becomes a literal block."""
    done: list[str] = []
    index, section = 0, False
    while index < len(lines):
        line = lines[index]
        indent = len(line) - len(line.lstrip())
        if line.strip() in _SECTIONS:
            section = True
        elif line.strip() and indent == 0:
            section = False
        if not section and line.strip() and indent >= 2 and not line.lstrip().startswith(">>>"):
            block = []
            while index < len(lines) and (not lines[index].strip() or lines[index].startswith("  ")):
                block.append(lines[index].replace("\\", ""))
                index += 1
            while block and not block[-1].strip():
                block.pop()
            done += ["", "::", "", *("  " + one for one in block), ""]
            continue
        done.append(line)
        index += 1
    return done
