"""A notebook's parameters cell, written from its card."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .specification import Parameter
from .values import allowed, convert

WIDTH = 120
HIDDEN = {"source_hidden": True}


def _annotation(parameter: Parameter) -> str:
    text = parameter.type.replace("record", "dict")
    optional = parameter.default is None
    return f"{text} | None" if optional else text


def source(parameters: Mapping[str, Parameter]) -> str:
    """One typed line per parameter with its meaning and range."""
    lines = []
    for name, parameter in parameters.items():
        default = None if parameter.default is None else convert(parameter.default, parameter)
        limits = allowed(parameter).removeprefix(parameter.type).lstrip(", ")
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        comment = f"# {' '.join(parameter.meaning.split())}{unit}" + (f" ({limits})" if limits else "")
        code = f"{name}: {_annotation(parameter)} = {_literal(default)}"
        if len(code) + 2 + len(comment) > WIDTH:
            lines += textwrap.wrap(comment, WIDTH, subsequent_indent="# ")
            lines += [code] if len(code) <= WIDTH else _exploded(code, default)
        else:
            lines.append(f"{code}  {comment}")
    return "\n".join(lines)


def _exploded(code: str, default: Any) -> list[str]:
    """A long list or record as the formatter breaks it: one entry a line."""
    if not isinstance(default, (list, dict)):
        return [code]
    entries = (
        [f'"{k}": {_literal(v)}' for k, v in default.items()] if isinstance(default, dict) else map(_literal, default)
    )
    opening, closing = ("{", "}") if isinstance(default, dict) else ("[", "]")
    return [code[: code.index(" = ") + 3] + opening, *(f"    {entry}," for entry in entries), closing]


def _literal(value: Any) -> str:
    # Double quotes, as the formatter would write them.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_literal(entry)}' for key, entry in value.items()) + "}"
    return repr(value)


def _tagged(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if "parameters" in cell.get("metadata", {}).get("tags", [])]


def differs(notebook: Path, parameters: Mapping[str, Parameter]) -> str:
    """Why a notebook's parameters cell is not what its card says; empty when it is."""
    cells = _tagged(json.loads(notebook.read_text(encoding="utf-8")))
    if len(cells) != 1:
        return f"{notebook.name} has {len(cells)} cells tagged 'parameters'; it needs one"
    found, wanted = "".join(cells[0]["source"]).rstrip().splitlines(), source(parameters).splitlines()
    if found == wanted:
        return ""
    line = next(
        (k for k, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    there = found[line] if line < len(found) else "(nothing)"
    card = wanted[line] if line < len(wanted) else "(nothing)"
    return f"{notebook.name}, parameters cell, line {line + 1}: {there!r}, but the card says {card!r}"


def write(notebook: Path, parameters: Mapping[str, Parameter]) -> bool:
    """Write the parameters cell of a notebook, its source collapsed and its output empty; whether anything changed.

    Raises:
        ValueError: for a notebook without exactly one cell tagged `parameters`.
    """
    text = notebook.read_text(encoding="utf-8")
    content = json.loads(text)
    cells = _tagged(content)
    if len(cells) != 1:
        raise ValueError(f"{notebook.name} has {len(cells)} cells tagged 'parameters'; give the tag to one cell")
    cell, before = cells[0], json.dumps(cells[0])
    cell["source"] = source(parameters).splitlines(keepends=True)
    cell["metadata"]["jupyter"] = {**cell["metadata"].get("jupyter", {}), **HIDDEN}
    cell["outputs"] = []
    if json.dumps(cell) == before:
        return False
    indent = 2 if text.startswith('{\n  "') else 1
    notebook.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    return True
