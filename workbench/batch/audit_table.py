"""The last audits of all papers as one page of the documentation, from what their court.json files keep."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from workbench import claims
from workbench.batch import auditing, papers
from workbench.claims.card import Card
from workbench.claims.court import seals
from workbench.claims.shown.words import SYMBOLS
from workbench.claims.verdict import NOT_RUN, REPRODUCED, VERDICTS

HEADINGS = ("paper", "verdicts", "blocks", "random rows agree", "exact rows agree", "*reproduced* that a control flips")


def place() -> Path:
    """The page in the repository's documentation."""
    return papers.root() / "docs" / "court-audits.md"


def current() -> bool:
    """Whether the page says what the court.json files say; always where the repository does not document its court."""
    page = place()
    return not page.with_name("court.md").is_file() or (page.is_file() and page.read_text(encoding="utf-8") == text())


def write() -> bool:
    """Write the page, and say whether it was not current."""
    if current():
        return False
    place().write_text(text(), encoding="utf-8")
    return True


def text() -> str:
    """A line per audited paper, then every verdict that moved and every control that did not flip its claim."""
    lines, notes = [], []
    for slug in sorted(slug for slug in papers.known() if papers.notebook_of(slug).is_file()):
        if kept := kept_rows(claims.card(slug)):
            lines.append([slug, *_cells(kept)])
        notes += [f"- {slug}, `{row.claim.id}`: {note}" for row in kept for note in _notes(row)]
    table = [HEADINGS, ["---"] * len(HEADINGS), *lines]
    remarks = ["", "Verdicts that moved, and controls that left their claim *reproduced*:", "", *notes] if notes else []
    return "\n".join([*("| " + " | ".join(line) + " |" for line in table), *remarks]) + "\n"


def kept_rows(card: Card) -> list[auditing.Row]:
    """The rows of a card's last audit, of claims that the card still has; empty without an audit."""
    kept = seals.read(card.folder).get("audit", {}).get("claims", {})
    return [
        auditing.Row(claim, kept[name]["committed"], tuple(kept[name]["blocks"]), kept[name]["controls"])
        for name, claim in card.claims.items()
        if name in kept
    ]


def _cells(kept: list[auditing.Row]) -> list[str]:
    counts = Counter(row.committed for row in kept)
    judged = [row for row in kept if row.committed != NOT_RUN]
    agreeing = []
    for random in (True, False):
        members = [row for row in judged if row.random is random]
        total = sum(len(row.blocks) for row in members)
        agreeing.append(f"{sum(row.agreeing for row in members)} of {total}" if total else "none")
    reproduced = [row for row in kept if row.committed == REPRODUCED]
    flipped = sum(bool(row.controls) and not row.unflipped for row in reproduced)
    return [
        ", ".join(f"{counts[verdict]} {SYMBOLS[verdict]}" for verdict in VERDICTS if counts[verdict]),
        str(max(len(row.blocks) for row in kept)),
        *agreeing,
        f"{flipped} of {len(reproduced)}",
    ]


def _notes(row: auditing.Row) -> list[str]:
    others = Counter(verdict for verdict in row.blocks if verdict != row.committed)
    moved = ", ".join(f"{verdict} in {count} of {len(row.blocks)} blocks" for verdict, count in others.items())
    still = [name for name, one in row.controls.items() if not one["flipped"] and row.committed == REPRODUCED]
    return [
        *([f"{row.committed} as committed, {moved}"] if moved and row.committed != NOT_RUN else []),
        *([f"not flipped by {', '.join(still)}"] if still else []),
    ]
