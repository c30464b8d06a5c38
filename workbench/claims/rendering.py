"""Verdicts and scoreboards as text and as HTML.

Colour never carries meaning alone (each verdict has a symbol and a word), and the HTML only sets colours that read on
light and on dark pages.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .judgement import CONTRADICTED, INCONCLUSIVE, NOT_RUN, REPRODUCED, Measurement
from .numbers import exact, plain, rounded
from .regions import Region
from .schema import Claim, Condition

if TYPE_CHECKING:
    from .scoreboard import Scoreboard
    from .verdict import Verdict

SYMBOLS = {REPRODUCED: "✔", CONTRADICTED: "✘", INCONCLUSIVE: "?", NOT_RUN: "–"}
COLOURS = {REPRODUCED: "#2e9e5b", CONTRADICTED: "#d9534f", INCONCLUSIVE: "#c08a00", NOT_RUN: "#8a8a8a"}
WIDTH = 110


def paper_value(claim: Claim) -> str:
    """What the paper reports, as text."""
    return plain(claim.paper) if isinstance(claim.paper, float) else claim.paper or "–"


def claimed(condition: Condition) -> str:
    """The claimed region in words: `<= 1 (tolerance 0.001)`, `in [0.8, 1.25]`, `= 2 +- 0.1`."""
    if isinstance(condition.threshold, list):
        text = f"in [{plain(condition.threshold[0])}, {plain(condition.threshold[1])}]"
    elif condition.relation == "==":
        slack = condition.margin or condition.tolerance
        text = f"= {plain(condition.threshold)}" + (f" +- {plain(slack)}" if slack else "")
    else:
        text = f"{condition.relation} {plain(condition.threshold)}"
    unit = f" {condition.unit}" if condition.unit else ""
    loose = condition.tolerance > 0 and not (condition.relation == "==" and condition.margin is None)
    return text + unit + (f" (tolerance {plain(condition.tolerance)})" if loose else "")


def ours(one: Measurement) -> str:
    """The measured value with its interval and sample size: `mean -0.24 [-0.32, -0.16] pp (95 %, n = 30)`."""
    condition, region = one.condition, Region.of(one.condition)
    unit = f" {condition.unit}" if condition.unit else ""
    if one.n == 0:
        return one.note or "nothing measured"
    worst = f"worst of {one.comparisons} comparisons: " if one.comparisons > 1 else ""
    note = f"; {one.note}" if one.note else ""
    if condition.statistic == "value":
        worst = f"worst of {one.n}: " if one.n > 1 else ""
        return f"{worst}{exact(one.estimate, region.low, region.high, whole=one.whole)}{unit}{note}"
    if condition.standard_errors is not None:
        level = f"{plain(condition.standard_errors)} standard errors"
    else:
        level = f"{plain(100 * condition.confidence)} %"
    if condition.statistic == "proportion":
        interval = f"[{rounded(one.low, [1.0])}, {rounded(one.high, [1.0])}]"
        return f"{worst}{one.successes} of {one.n} seeds {interval} ({level}){note}"
    scale = max(abs(one.low), abs(one.high)) if condition.statistic in ("mean", "bootstrap") else None
    estimate, low, high = (rounded(value, region.ends, scale) for value in (one.estimate, one.low, one.high))
    kind = {"ratio": "geometric mean", "bootstrap": "mean"}.get(condition.statistic, condition.statistic)
    return f"{worst}{kind} {estimate} [{low}, {high}]{unit} ({level}, n = {one.n}){note}"


def _block(label: str, text: str) -> str:
    body = textwrap.wrap(" ".join(text.split()), WIDTH - 10) or [""]
    return "\n".join(f"  {label if not index else '':<7} {line}" for index, line in enumerate(body))


def _origin(claim: Claim) -> str:
    return f"corrects {claim.printed}" if claim.printed else claim.origin


def verdict_text(verdict: Verdict) -> str:
    """One block of lines: verdict, statement, the paper's value, ours."""
    claim = verdict.claim
    lines = [
        f"{SYMBOLS[verdict.verdict]} {verdict.verdict}: {claim.id}",
        _block("claim", f"{claim.statement} ({claim.source}; {_origin(claim)})"),
        _block("paper", paper_value(claim)),
    ]
    for index, one in enumerate(verdict.conditions):
        symbol = f"{SYMBOLS[one.verdict]} " if len(verdict.conditions) > 1 else ""
        line = f"{symbol}{one.condition.quantity}: {ours(one)}; claimed {claimed(one.condition)}"
        lines.append(_block("" if index else "ours", line))
    if not verdict.conditions:
        lines.append(_block("ours", verdict.reason))
    return "\n".join(lines)


def _badge(verdict: str) -> str:
    style = f"color:{COLOURS[verdict]};font-weight:bold;white-space:nowrap"
    return f'<span style="{style}">{SYMBOLS[verdict]} {escape(verdict)}</span>'


def verdict_html(verdict: Verdict) -> str:
    """The same block as HTML; all text of the card is escaped."""
    claim = verdict.claim
    rows = [("paper", escape(paper_value(claim)))]
    for one in verdict.conditions:
        mark = f"{_badge(one.verdict)} " if len(verdict.conditions) > 1 else ""
        quantity = escape(one.condition.quantity)
        rows.append(("ours", f"{mark}{quantity}: <b>{escape(ours(one))}</b>; claimed {escape(claimed(one.condition))}"))
    if not verdict.conditions:
        rows.append(("ours", escape(verdict.reason)))
    label = "padding:0 1em 0 0;text-align:left;vertical-align:top;opacity:0.7"
    cell = "padding:0;text-align:left"
    body = "".join(
        f'<tr style="background:none"><td style="{label}">{name}</td><td style="{cell}">{text}</td></tr>'
        for name, text in rows
    )
    return (
        f'<div style="border-left:4px solid {COLOURS[verdict.verdict]};padding:0.2em 0.8em;margin:0.4em 0">'
        f"<div>{_badge(verdict.verdict)} &nbsp;{escape(claim.statement)} "
        f'<span style="opacity:0.7">({escape(claim.source)}; {escape(_origin(claim))}; <code>{escape(claim.id)}</code>)'
        f'</span></div><table style="border:none;margin:0.2em 0 0 0">{body}</table></div>'
    )


def _measured(verdict: Verdict) -> str:
    if not verdict.conditions:
        return verdict.reason
    several = len(verdict.conditions) > 1
    return "\n".join(
        (f"{SYMBOLS[one.verdict]} {one.condition.name}: " if several else "") + ours(one) for one in verdict.conditions
    )


def _required(verdict: Verdict) -> str:
    several = len(verdict.claim.condition) > 1
    return "\n".join(
        (f"{condition.name} " if several else "") + claimed(condition) for condition in verdict.claim.condition
    )


HEADINGS = ("verdict", "claim", "statement", "paper", "claimed", "ours")


def _rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        claim = verdict.claim
        name = f"↳ {claim.id}" if claim.printed else claim.id
        statement = f"corrected: {claim.statement}" if claim.printed else claim.statement
        rows.append((verdict.verdict, name, statement, paper_value(claim), _required(verdict), _measured(verdict)))
    return rows


def scoreboard_table(board: Scoreboard):
    """The scoreboard as a rich table (for terminals)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=board.title, title_justify="left", pad_edge=False, show_lines=True)
    for heading, ratio in zip(HEADINGS, (None, 3, 4, 3, 3, 5), strict=True):
        table.add_column(heading, ratio=ratio, no_wrap=ratio is None, overflow="fold")
    colours = {REPRODUCED: "green", CONTRADICTED: "red", INCONCLUSIVE: "yellow", NOT_RUN: "dim"}
    for verdict, *cells in _rows(board.verdicts):
        table.add_row(Text(f"{SYMBOLS[verdict]} {verdict}", style=colours[verdict]), *(Text(cell) for cell in cells))
    return table


def scoreboard_text(board: Scoreboard) -> str:
    """The scoreboard as plain text of a fixed width."""
    import io

    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=150, color_system=None, force_terminal=False, force_jupyter=False, emoji=False)
    console.print(scoreboard_table(board))
    table = "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
    return table + "\n\n" + "\n".join(board.summary_lines)


def scoreboard_html(board: Scoreboard) -> str:
    """The scoreboard as an HTML table; all text of the card is escaped."""
    cell = "text-align:left;vertical-align:top;padding:0.2em 0.8em 0.2em 0"
    head = "".join(f'<th style="{cell}">{heading}</th>' for heading in HEADINGS)
    body = ""
    for verdict, *cells in _rows(board.verdicts):
        tail = "".join(f'<td style="{cell}">{escape(text).replace(chr(10), "<br>")}</td>' for text in cells)
        body += f'<tr><td style="{cell}">{_badge(verdict)}</td>{tail}</tr>'
    notes = "".join(f"<div>{escape(line)}</div>" for line in board.summary_lines)
    return (
        f"<div><b>{escape(board.title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"{notes}</div>"
    )
