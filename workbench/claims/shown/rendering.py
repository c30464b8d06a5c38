"""Verdicts and scoreboards as text and as HTML.

Colour never carries meaning alone (each verdict has a symbol and a word), and the HTML only sets colours that read on
light and on dark pages.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from ..judging.record import REPRODUCED, Measurement, Record
from ..written.regions import compressed
from . import tex, words
from .words import COLOURS, STYLES, SYMBOLS

WIDTH = 110


def _facts(verdict: Record) -> list[tuple[str, str]]:
    """Label and text of every line below the statement."""
    facts = [("paper", words.paper_value(verdict.claim))]
    several = len(verdict.conditions) > 1
    for one in verdict.conditions:
        mark = f"{SYMBOLS[one.verdict]} " if several else ""
        line = f"{mark}{one.condition.quantity}: {words.ours(one)}; claimed {words.claimed(one.condition)}"
        facts.append(("ours", line))
    if text := words.sizes(verdict):
        facts.append(("sizes", text))
    facts += [("", text) for text in words.remarks(verdict)]
    if text := words.controls(verdict):
        facts.append(("control", text))
    if text := words.agreement(verdict):
        facts.append(("blocks", text))
    return facts


def _block(label: str, text: str) -> str:
    body = textwrap.wrap(" ".join(text.split()), WIDTH - 10) or [""]
    return "\n".join(f"  {label if not index else '':<7} {line}" for index, line in enumerate(body))


def verdict_text(verdict: Record) -> str:
    """One block of lines: verdict, statement, the paper's value, ours, controls."""
    claim = verdict.claim
    lines = [
        f"{SYMBOLS[verdict.verdict]} {words.badge(verdict)}: {claim.id}",
        _block("claim", f"{words.statement(claim)} ({claim.source}; {words.origin(claim)})"),
    ]
    before = ""
    for label, text in _facts(verdict):
        lines.append(_block("" if label == before else label, tex.plain(text)))
        before = label
    return "\n".join(lines)


def badge_html(verdict: Record) -> str:
    """The verdict with its symbol in its colour."""
    style = f"color:{COLOURS[verdict.verdict]};font-weight:bold;white-space:nowrap"
    return f'<span style="{style}">{SYMBOLS[verdict.verdict]} {escape(words.badge(verdict))}</span>'


def interval_svg(one: Measurement, width: int = 170) -> str:
    """The interval against the claimed region: the threshold in the middle, the claimed side shaded on the right."""
    place = one.condition.region.position(one.low, one.estimate, one.high) if one.condition.random else None
    if place is None:
        place = one.condition.region.position(one.estimate, one.estimate, one.estimate)
    if place is None:
        return ""
    half, colour = width / 2, COLOURS[one.verdict]
    low, middle, high = (half + 0.94 * half * compressed(share) for share in place)
    return (
        f'<svg width="{width}" height="14" style="vertical-align:middle" role="img" aria-label="'
        f'{escape(words.number(one))} against {escape(words.claimed(one.condition))}">'
        f'<rect x="{half}" width="{half}" height="14" fill="{COLOURS[REPRODUCED]}" opacity="0.15"/>'
        f'<line x1="{half}" x2="{half}" y1="0" y2="14" stroke="#8a8a8a"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="7" y2="7" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{middle:.1f}" cy="7" r="4" fill="{colour}"/></svg>'
    )


def verdict_html(verdict: Record) -> str:
    """The same block as HTML; all text of the card is escaped."""
    claim, rows = verdict.claim, []
    measured = list(verdict.conditions)
    before = ""
    for label, text in _facts(verdict):
        drawn = interval_svg(measured.pop(0)) + " " if label == "ours" and measured else ""
        rows.append(("" if label == before else label, drawn + tex.html(text)))
        before = label
    label = "padding:0 1em 0 0;text-align:left;vertical-align:top;opacity:0.7"
    cell = "padding:0;text-align:left"
    body = "".join(
        f'<tr style="background:none"><td style="{label}">{name}</td><td style="{cell}">{text}</td></tr>'
        for name, text in rows
    )
    return (
        f'<div style="border-left:4px solid {COLOURS[verdict.verdict]};padding:0.2em 0.8em;margin:0.4em 0">'
        f"<div>{badge_html(verdict)} &nbsp;{tex.html(claim.statement)} "
        f'<span style="opacity:0.7">({escape(claim.source)}; {escape(words.origin(claim))}; '
        f"<code>{escape(claim.id)}</code>)</span></div>"
        f'<table style="border:none;margin:0.2em 0 0 0">{body}</table></div>'
    )


HEADINGS = ("verdict", "claim", "statement", "paper", "claimed", "ours", "control", "blocks")


def _rows(verdicts: Sequence[Record]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        claim, several = verdict.claim, len(verdict.claim.condition) > 1
        name = f"↳ {claim.id}" if claim.printed else claim.id
        origin = "" if claim.origin == "printed" else f"{claim.origin}: "
        required = [(f"{one.name} " if several else "") + words.claimed(one) for one in claim.condition]
        measured = [
            (f"{SYMBOLS[one.verdict]} {one.condition.name}: " if several else "") + words.ours(one)
            for one in verdict.conditions
        ]
        if text := words.sizes(verdict):
            measured.append(text)
        measured += words.remarks(verdict)
        rows.append(
            (
                name,
                origin + claim.statement,
                words.paper_value(claim),
                "\n".join(required),
                "\n".join(measured),
                words.controls(verdict),
                words.agreement(verdict),
            )
        )
    return rows


def _shown_columns(verdicts: Sequence[Record], rows: Sequence[tuple[str, ...]]) -> list[int]:
    """Controls and blocks are columns only where there are any."""
    return [k for k in range(7) if k < 5 or any(row[k] for row in rows)]


def scoreboard_table(title: str, verdicts: Sequence[Record]):
    """The scoreboard as a rich table (for terminals)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = _rows(verdicts)
    columns = _shown_columns(verdicts, rows)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_lines=True)
    ratios = (None, 3, 4, 3, 3, 5, 3, 2)
    for k in (-1, *columns):
        table.add_column(
            HEADINGS[k + 1], ratio=ratios[k + 1], no_wrap=False, overflow="fold", min_width=14 if k < 0 else None
        )
    for verdict, row in zip(verdicts, rows, strict=True):
        badge = Text(f"{SYMBOLS[verdict.verdict]} {words.badge(verdict)}", style=STYLES[verdict.verdict])
        cells = [verdict.claim.plain if k == 1 and verdict.claim.plain else tex.plain(row[k]) for k in columns]
        table.add_row(badge, *map(Text, cells))
    return table


def scoreboard_text(title: str, verdicts: Sequence[Record], notes: Sequence[str]) -> str:
    """The scoreboard as plain text of a fixed width."""
    import io

    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=150, color_system=None, force_terminal=False, force_jupyter=False, emoji=False)
    console.print(scoreboard_table(title, verdicts))
    table = "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
    return table + "\n\n" + "\n".join(notes)


def scoreboard_html(title: str, verdicts: Sequence[Record], notes: Sequence[str]) -> str:
    """The scoreboard as an HTML table; all text of the card is escaped."""
    rows = _rows(verdicts)
    columns = _shown_columns(verdicts, rows)
    cell = "text-align:left;vertical-align:top;padding:0.2em 0.8em 0.2em 0"
    head = "".join(f'<th style="{cell}">{HEADINGS[k + 1]}</th>' for k in (-1, *columns))
    body = ""
    for verdict, row in zip(verdicts, rows, strict=True):
        drawn = {4: "".join(interval_svg(one) + "<br>" for one in verdict.conditions)}
        tail = "".join(
            f'<td style="{cell}">{drawn.get(k, "")}{tex.html(row[k]).replace(chr(10), "<br>")}</td>' for k in columns
        )
        body += f'<tr><td style="{cell}">{badge_html(verdict)}</td>{tail}</tr>'
    lines = "".join(f"<div>{escape(line)}</div>" for line in notes)
    return f"<div><b>{escape(title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}</div>"
