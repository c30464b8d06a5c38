"""Scoreboards in the terminal, from the claims.json of finished jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.batch.jobs import shorten
from workbench.batch.results.store import Record

VERDICTS = {
    "reproduced": ("✔", "green"),
    "contradicted": ("✘", "red"),
    "inconclusive": ("?", "yellow"),
    "not run": ("–", "dim"),
}


def claims_of(record: Record) -> Mapping[str, Any] | None:
    """A record's claims.json; None when its notebook checked no claim."""
    return record.json("claims.json") if "claims.json" in record.content["files"] else None


def counts(claims: Iterable[Mapping[str, Any]]) -> Text:
    """`✔ 5 reproduced  ✘ 1 contradicted` for the summaries of several claims.json."""
    total: Counter[str] = Counter()
    for one in claims:
        total.update(one["summary"])
    text = Text()
    for verdict, (mark, style) in VERDICTS.items():
        if total[verdict]:
            text.append(f"{mark} {total[verdict]} {verdict}  ", style=style)
    return text


def scoreboard(records: Sequence[Record]) -> RenderableType:
    """Per paper: each claim with its verdict (one job), or with how many jobs gave which verdict (several)."""
    parts: list[RenderableType] = []
    papers: dict[str, list[Record]] = {}
    for record in records:
        papers.setdefault(record.content["paper"], []).append(record)
    for paper, group in papers.items():
        found = [claims for record in group if (claims := claims_of(record)) is not None]
        if found:
            parts.append(_table(paper, found))
            parts.append(counts(found))
        else:
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
    for claim in found[0]["claims"]:
        if len(found) == 1:
            table.add_row(
                _verdict(claim["verdict"]), Text(claim["id"]), Text(str(claim["paper_value"])), Text(ours(claim))
            )
        else:
            table.add_row(_tally(found, claim["id"]), Text(claim["id"]))
    return table


def _verdict(verdict: str) -> Text:
    mark, style = VERDICTS.get(verdict, ("", "default"))
    return Text(f"{mark} {verdict}", style=style)


def _tally(found: Sequence[Mapping[str, Any]], claim: str) -> Text:
    tally = Counter(one["verdict"] for claims in found for one in claims["claims"] if one["id"] == claim)
    text = Text()
    for verdict, (mark, style) in VERDICTS.items():
        if tally[verdict]:
            text.append(f"{mark} {tally[verdict]} ", style=style)
    return text


def ours(claim: Mapping[str, Any]) -> str:
    """What was measured of a claim: estimate and interval of its first two conditions."""
    shown = list(_conditions(claim))
    return "; ".join(shown if len(shown) <= 2 else [*shown[:2], f"and {len(shown) - 2} more"])


def _conditions(claim: Mapping[str, Any]) -> Iterator[str]:
    for condition in claim["conditions"]:
        if condition["estimate"] is None:
            continue
        text = _number(condition["estimate"])
        if condition["low"] is not None and condition["low"] != condition["high"]:
            text += f" [{_number(condition['low'])}, {_number(condition['high'])}]"
        yield f"{text} {condition['unit']}".strip()


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else shorten(value)
