"""The report: one static page that shows what was measured, against what was claimed, and where it comes from.

The page is self-contained (no network): style, drawings, figures and the one script that searches, filters and sorts (and
moves explorers) are inside it, and a content security policy lets nothing else run. Only the links to the executed notebooks
lead out, relative to the page. All text from notebooks, cards and parameters is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from workbench.batch.jobs import shorten
from workbench.batch.report import changes as report_changes
from workbench.batch.report import drawings as report_svg
from workbench.batch.report import explorers as report_explorers
from workbench.batch.report.collected import collect, essence
from workbench.batch.report.notebook_figures import figures
from workbench.claims.recording import write_atomically
from workbench.claims.shown import tex, words
from workbench.claims.verdict import VERDICTS, Measurement, Verdict

_PAGE = "report.html.jinja"
MOST_PANELS = 12  # in a row of small multiples
MOST_SWEEPS = 6  # per paper: a fine grid over two parameters would make a page of a thousand drawings


def write_report(store: Path, out: Path, compare: Path | None = None, explorers: bool = False) -> Path:
    """Write the report page of a run store.

    Args:
        store: folder of the run store; folders that are half-written, damaged or failed are listed, never an error.
        out: the HTML file to write, replaced as a whole. Links to notebooks are relative to its folder.
        compare: an older report, whose differences to this one are shown.
        explorers: put every paper's explorer in, its pictures computed beforehand (some seconds each), 2 MB in all.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is a folder, or `compare` is not a report.
    """
    store, out = Path(store), Path(out)
    if out.is_dir():
        raise ValueError(
            f"out = {str(out)!r} is a folder: name the HTML file to write, for example {out / 'report.html'}"
        )
    old = report_changes.embedded(Path(compare)) if compare is not None else None
    data = collect(store)
    page = render(data, out.parent, old, report_explorers.fragments(data["papers"]) if explorers else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, lambda part: part.write_text(page, encoding="utf-8"))
    return out


def render(
    data: Mapping[str, Any],
    start: Path,
    old: Mapping[str, Any] | None = None,
    explorers: Mapping[str, str] | None = None,
) -> str:
    """The page as text.

    Args:
        data: what `collect` found.
        start: folder from which links are relative.
        old: data of an older report to compare with.
        explorers: parts of the page by paper.
    """
    new = essence(data)
    script = (Path(__file__).parent / "report.js").read_text(encoding="utf-8")
    script, style = report_explorers.with_theirs(script) if explorers else (script, "")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        measured=words.number,
        claimed=words.claimed,
        tex=lambda text: Markup(tex.html(str(text))),
        origin=words.origin,
        badge_words=words.badge,
        sizes=words.sizes,
        control=words.controls,
        agreement=words.agreement,
        remarks=words.remarks,
        short=shorten,
        when=_when,
        forest=report_svg.forest_row,
        paper_value=words.paper_value,
        css=report_svg.css,
        share=_share,
        searched=_searched,
    )
    return environment.get_template(_PAGE).render(
        data=data,
        papers=[
            {**_shown(paper, start), "explorer": Markup((explorers or {}).get(paper["slug"], ""))}
            for paper in data["papers"]
        ],
        style=Markup(style),
        verdicts=VERDICTS,
        most_sweeps=MOST_SWEEPS,
        symbols=words.SYMBOLS,
        colours=words.COLOURS,
        axis=report_svg.forest_axis(),
        presets=_presets(data["papers"]),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        changes=report_changes.changes(old, new) if old is not None else None,
        old=old,
        mark=report_changes.MARK,
        embedded=Markup(report_changes.for_script(new)),
        link=lambda job: _link(job, start),
        differing=differing,
        seconds=_seconds,
        stderr=_tail,
    )


def differing(job: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in which a job differs from the main one."""
    missing = object()
    return {name: value for name, value in job["parameters"].items() if main["parameters"].get(name, missing) != value}


def _shown(paper: Mapping[str, Any], start: Path) -> dict[str, Any]:
    return {
        **paper,
        "anchor": "paper-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in paper["slug"]),
        "figures": [] if paper["main"]["damaged"] else figures(paper["main"]["folder"] / "notebook.ipynb"),
        "notebook": _link(paper["main"], start),
        "blocks": _blocks(paper["sweeps"]),
    }


def _share(claim: Verdict) -> str:
    """Share of the audit's blocks that gave the committed verdict, for sorting; empty without an audit."""
    blocks = claim.audit.get("blocks", [])
    return f"{sum(one == claim.audit.get('committed') for one in blocks) / len(blocks):g}" if blocks else ""


def _searched(claim: Verdict, paper: Mapping[str, Any]) -> str:
    """What the search looks through, in lower case."""
    said = (claim.id, tex.plain(claim.claim.statement), tex.plain(claim.claim.source), paper["title"], paper["authors"])
    return " ".join(" ".join(said).lower().split())


def _presets(papers: Sequence[Mapping[str, Any]]) -> str:
    """The presets of the papers' main jobs: `laptop preset`, or each with its number of papers."""
    counted = Counter(paper["main"]["preset"] for paper in papers)
    if len(counted) == 1:
        return f"{next(iter(counted)) or 'no'} preset"
    return ", ".join(f"{name or 'no'} preset ({n} papers)" for name, n in counted.most_common())


def _blocks(sweeps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sweeps over one parameter, those that differ only in the value of other parameters together as small multiples."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for sweep in sweeps:
        groups.setdefault((sweep["name"], sweep["preset"], *sweep["fixed"]), []).append(sweep)
    blocks = []
    for members in groups.values():
        shared = {
            name: value
            for name, value in members[0]["fixed"].items()
            if all(m["fixed"][name] == value for m in members)
        }
        blocks.append(
            {
                "name": members[0]["name"],
                "preset": members[0]["preset"],
                "fixed": shared,
                "jobs": sum(len(m["points"]) for m in members),
                "rows": _rows(members, shared) if len(blocks) < MOST_SWEEPS else [],
            }
        )
    return blocks


def _rows(members: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per condition that a sweep measured at two points: a chart for each sweep, all on one vertical scale."""
    rows = []
    for claim in members[0]["points"][-1][1]["claims"]:
        for condition in claim.claim.condition:
            name = condition.name
            drawn = [[(value, _condition(job, claim.id, name)) for value, job in m["points"]] for m in members]
            if not any(sum(one is not None and bool(words.number(one)) for _, one in points) > 1 for points in drawn):
                continue
            everything = [one for points in drawn for _, one in points if one is not None]
            rows.append(
                {
                    "id": f"{claim.id}: {name}" if len(claim.claim.condition) > 1 else claim.id,
                    "quantity": condition.quantity,
                    "claimed": words.claimed(condition),
                    "charts": [
                        {
                            "at": {key: value for key, value in m["fixed"].items() if key not in shared},
                            "svg": report_svg.sweep_chart(m["name"], points, everything),
                        }
                        for m, points in zip(members[:MOST_PANELS], drawn, strict=False)
                        if any(one is not None for _, one in points)
                    ],
                }
            )
    return rows


def _condition(job: Mapping[str, Any], claim_id: str, name: str) -> Measurement | None:
    for claim in job["claims"]:
        if claim.id == claim_id:
            for one in claim.conditions:
                if one.condition.name == name:
                    return one
    return None


def _link(job: Mapping[str, Any], start: Path) -> str:
    """The executed notebook's HTML copy, else the notebook, relative to the report; empty where neither exists."""
    for name in ("notebook.html", "notebook.ipynb"):
        path = job["folder"] / name
        if path.is_file():
            return quote(Path(os.path.relpath(path.resolve(), start.resolve())).as_posix())
    return ""


def _tail(job: Mapping[str, Any], characters: int = 4000) -> str:
    """The end of what a failed job printed to its error stream."""
    try:
        with open(job["folder"] / "stderr.txt", "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - characters))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _when(time: str) -> str:
    """A recorded time (UTC, to the second) as a reader writes it."""
    return f"{time[:10]} {time[11:16]} UTC" if len(time) > 16 and time.endswith("Z") else time or "–"


def _seconds(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"
