"""The gallery of papers by theme, written from their cards and the committed notebooks."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

from workbench.lab.start import papers

HEAD = """\
# Papers

Each page is a notebook as committed: claims, measurements, verdicts. `make lab` opens them live.
"""
CARD = """\
<a class="paper" href="notebooks/{page}.html">{picture}<b>{title}</b> <span class="year">{year}</span><br>{question}
<span class="verdicts">{verdicts}</span></a>
"""


def write(folder: Path) -> None:
    """Write papers.md with a card and a thumbnail per paper, and copy the notebooks it links to beside it."""
    parts, names = [HEAD], []
    for theme, lines in papers().themes.items():
        cards = []
        for line in lines:
            if not line.notebook:
                continue
            source = folder.parent / "notebooks" / line.notebook
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in line.counts.items() if count)
            cards.append(
                CARD.format(
                    page=Path(line.notebook).stem,
                    picture=_thumbnail(folder, source),
                    title=escape(line.title),
                    year=line.year,
                    question=escape(line.question),
                    verdicts=escape(verdicts or line.source),
                ).replace("\n", " ")
            )
            names.append(line.notebook)
        if cards:
            body = "\n".join(cards)
            parts.append(
                f'## {theme[0].upper()}{theme[1:]}\n\n```{{raw}} html\n<div class="papers">\n{body}\n</div>\n```\n'
            )
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(f"notebooks/{name}" for name in names) + "\n```\n")
    _update(folder / "papers.md", "\n".join(parts).encode())
    for name in names:
        _update(folder / "notebooks" / name, (folder.parent / "notebooks" / name).read_bytes())
    for stale in (folder / "notebooks").glob("*.ipynb"):
        if stale.name not in names:
            stale.unlink()


def _thumbnail(folder: Path, notebook: Path) -> str:
    """The notebook's first picture, as a file of the site; nothing for a notebook without one."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                _update(folder / "_static" / "papers" / f"{notebook.stem}.png", base64.b64decode("".join(picture)))
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", f"first figure of {notebook.stem}")
                return f'<img src="_static/papers/{notebook.stem}.png" alt="{escape(alt, quote=True)}" loading="lazy">'
    return ""


def _update(target: Path, content: bytes) -> None:
    # Unchanged files keep their time, so that a rebuild has nothing to do.
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(exist_ok=True, parents=True)
        target.write_bytes(content)
