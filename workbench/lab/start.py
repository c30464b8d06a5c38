"""What the start page shows: the papers by theme, with the verdicts of the newest run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from workbench import claims
from workbench.claims.shown.rendering import COLOURS, SYMBOLS

_SUMMARY = re.compile(r"\d+ claims: (\d+ [^.]+)\.")


@dataclass(frozen=True)
class Line:
    """One paper: what it asks, its notebook's file name (empty where there is none), its verdicts and their origin."""

    slug: str
    title: str
    year: int
    theme: str
    question: str
    notebook: str
    counts: dict[str, int]
    source: str


class Papers:
    """The papers by theme; readable as text and, with links, in a notebook that lies beside theirs."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = sorted(lines, key=lambda line: (line.theme == "", line.theme, line.year, line.slug))

    @property
    def themes(self) -> dict[str, list[Line]]:
        """The lines of each theme, themes in alphabetical order."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.theme or "Other", []).append(line)
        return found

    def __repr__(self) -> str:
        parts = []
        for theme, lines in self.themes.items():
            parts.append(theme)
            for line in lines:
                parts.append(f"  {line.slug} ({line.year}): {line.question or line.title}")
                parts.append(f"      {_counts(line)} [{line.source}]" if line.counts else f"      {line.source}")
        return "\n".join(parts) or "no papers here"

    def _repr_html_(self) -> str:
        cell = "text-align:left;vertical-align:top;padding:0.3em 1em 0.3em 0"
        rows = ""
        for theme, lines in self.themes.items():
            rows += f'<tr><td colspan="2" style="{cell}"><b>{escape(theme)}</b></td></tr>'
            for line in lines:
                name = f"<b>{escape(line.slug)}</b>"
                if line.notebook:
                    name = f'<a href="{escape(line.notebook)}">{name}</a>'
                text = f"{escape(line.question or line.title)}<br><i>{escape(line.title)}</i>, {line.year}"
                verdicts = " &nbsp; ".join(
                    f'<span style="color:{COLOURS[verdict]};white-space:nowrap">{SYMBOLS[verdict]} {count} '
                    f"{escape(verdict)}</span>"
                    for verdict, count in line.counts.items()
                    if count
                )
                text += f'<br>{verdicts} <span style="opacity:0.7">({escape(line.source)})</span>'
                rows += f'<tr><td style="{cell};white-space:nowrap">{name}</td><td style="{cell}">{text}</td></tr>'
        return f"<table><tbody>{rows}</tbody></table>"


def papers() -> Papers:
    """Every paper with a card. Verdicts come from the newest finished job in `runs/`, else from the notebook's outputs."""
    from workbench.batch import papers as places

    lines = []
    store = places.default_store()
    for slug, card in claims.cards().items():
        notebook = places.notebook_of(slug)
        counts, source = newest_run(slug, store) or written_verdicts(notebook) or ({}, "not run yet")
        there, paper = notebook.is_file(), card.paper
        name = notebook.name if there else ""
        source = source if there else "no notebook yet"
        lines.append(Line(slug, paper.title, paper.year, paper.theme, paper.question, name, counts, source))
    return Papers(lines)


def newest_run(slug: str, store: Path) -> tuple[dict[str, int], str] | None:
    """Verdict counts of a paper's newest finished job that checked claims, and which preset that was."""
    from workbench.batch.results.store import Store

    finished = [one for one in Store(store).records(slug) if one.finished and "claims.json" in one.content["files"]]
    done = [one for one in finished if not one.damage(("claims.json", "provenance.json"))]
    if not done:
        return None
    newest = max(done, key=lambda one: one.json("provenance.json")["finished"])
    measured = newest.json("claims.json")
    return measured["summary"], f"newest run, preset {measured['preset']}"


def written_verdicts(notebook: Path) -> tuple[dict[str, int], str] | None:
    """Verdict counts that the last scoreboard in a notebook's outputs states."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return None
    texts = [
        "".join(output.get("data", {}).get("text/plain", "")) for cell in cells for output in cell.get("outputs", [])
    ]
    found = [match for text in texts for match in _SUMMARY.findall(text)]
    if not found:
        return None
    counts = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z, ]+?)(?=, \d|$)", found[-1])}
    return {name: count for name, count in counts.items() if name in SYMBOLS}, "as committed"


def _counts(line: Line) -> str:
    return "  ".join(f"{SYMBOLS[verdict]} {count} {verdict}" for verdict, count in line.counts.items() if count)
