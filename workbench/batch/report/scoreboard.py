"""Scoreboards in the terminal, from the claims.json of finished jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.batch.results.store import REMEDY, DamagedError, Record
from workbench.claims.recording import load
from workbench.claims.shown import words
from workbench.claims.verdict import Verdict


def claims_of(record: Record) -> Mapping[str, Any] | None:
    """A record's claims.json; None when its notebook checked no claim.

    Raises:
        DamagedError: when the file is not as it was written.
    """
    return record.json("claims.json") if "claims.json" in record.content["files"] else None


def claims_of_sound(records: Iterable[Record]) -> tuple[list[Mapping[str, Any]], list[Text]]:
    """claims.json of those records that have one, and a line for each that is damaged."""
    found, damaged = [], []
    for record in records:
        try:
            if (content := claims_of(record)) is not None:
                found.append(content)
        except DamagedError as error:
            damaged.append(Text(f"✘ {error}; {REMEDY}", style="bold red"))
    return found, damaged


def counts(claims: Iterable[Mapping[str, Any]]) -> Text:
    """`✔ 5 reproduced  ✘ 1 contradicted` for the summaries of several claims.json."""
    total: Counter[str] = Counter()
    for one in claims:
        total.update(one["summary"])
    text = Text()
    for verdict, mark in words.SYMBOLS.items():
        if total[verdict]:
            text.append(f"{mark} {total[verdict]} {verdict}  ", style=words.STYLES[verdict])
    return text


def scoreboard(records: Sequence[Record]) -> RenderableType:
    """Per paper: each claim with its verdict (one job), or with how many jobs gave which verdict (several)."""
    parts: list[RenderableType] = []
    papers: dict[str, list[Record]] = {}
    for record in records:
        papers.setdefault(record.content["paper"], []).append(record)
    for paper, group in papers.items():
        found, damaged = claims_of_sound(group)
        parts += damaged
        if found:
            parts.append(_table(paper, found))
            parts.append(counts(found))
        elif not damaged:
            parts.append(Text(f"{paper}: its notebook checks no claim", style="dim"))
    return Group(*parts)


def _table(paper: str, found: Sequence[Mapping[str, Any]]) -> Table:
    jobs = f"{len(found)} jobs" if len(found) > 1 else f"preset {found[0]['preset']}"
    table = Table(title=f"{paper} ({jobs})", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", no_wrap=True, overflow="ellipsis", max_width=40)
    if len(found) == 1:
        table.add_column("paper", overflow="fold", max_width=24)
        table.add_column("ours", overflow="fold")
    for entry in found[0]["claims"]:
        if len(found) == 1:
            one = load(entry)
            table.add_row(_verdict(one), Text(one.id), Text(words.paper_value(one.claim)), Text(ours(one)))
        else:
            table.add_row(_tally(found, entry["id"]), Text(entry["id"]))
    return table


def _verdict(one: Verdict) -> Text:
    return Text(f"{words.SYMBOLS[one.verdict]} {words.badge(one)}", style=words.STYLES[one.verdict])


def _tally(found: Sequence[Mapping[str, Any]], claim: str) -> Text:
    tally = Counter(one["verdict"] for claims in found for one in claims["claims"] if one["id"] == claim)
    text = Text()
    for verdict, mark in words.SYMBOLS.items():
        if tally[verdict]:
            text.append(f"{mark} {tally[verdict]} ", style=words.STYLES[verdict])
    return text


def ours(one: Verdict) -> str:
    """What was measured of a claim: range of sizes, else the estimates and intervals of its first two conditions."""
    shown = [words.number(condition) for condition in one.conditions if words.number(condition)]
    shown = shown if len(shown) <= 2 else [*shown[:2], f"and {len(shown) - 2} more"]
    return words.sizes(one) or "; ".join(shown)
