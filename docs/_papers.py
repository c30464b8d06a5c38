"""The gallery of papers by theme, written from their cards and the committed notebooks."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

import _explorers

from workbench.lab.start import papers

HEAD = """\
# Papers

Each page is a notebook as committed: claims, measurements, verdicts. `make lab` opens them live.
"""
CARD = """\
<div class="paper"><a href="notebooks/{page}.html">{picture}<b>{title}</b> <span class="year">{year}</span><br>{question}
<span class="verdicts">{verdicts}</span></a>{explorer}</div>
"""
EXPLORER = '<a class="explore" href="_static/explorers/{page}.html" aria-label="Explorer of {page}">Explorer</a>'
MOVE = "run this cell in JupyterLab to move"
"""What stands for an explorer in an executed notebook."""


def write(folder: Path) -> None:
    """Write papers.md with a card and a thumbnail per paper, and copy the notebooks it links to beside it."""
    parts, names = [HEAD], []
    listed = [Path(line.notebook).stem for lines in papers().themes.values() for line in lines if line.notebook]
    explored = _explorers.write(folder, listed)
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
                    explorer=EXPLORER.format(page=source.stem) if source.stem in explored else "",
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
        content = (folder.parent / "notebooks" / name).read_bytes()
        _update(
            folder / "notebooks" / name, _linked(content, Path(name).stem) if Path(name).stem in explored else content
        )
    for stale in (folder / "notebooks").glob("*.ipynb"):
        if stale.name not in names:
            stale.unlink()


def _linked(notebook: bytes, slug: str) -> bytes:
    """The notebook with a link to its static explorer where the live one stands."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if MOVE in "".join(data.get("text/html", "")):
                link = f'<p><a href="../_static/explorers/{slug}.html">Move it here, with pictures computed beforehand</a></p>'
                data["text/html"] = "".join(data["text/html"]) + link
    return json.dumps(content, ensure_ascii=False).encode()


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
