"""The state of a store, for `workbench status`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.batch.jobs import shorten
from workbench.batch.report.scoreboard import claims_of_sound, counts
from workbench.batch.results.store import Store
from workbench.batch.running.progress import cell_of


def overview(root: Path) -> RenderableType:
    """Per paper: finished and failed jobs and verdicts; then every failure; then what runs now."""
    store = Store(root)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("paper", "finished", "failed", "verdicts"):
        table.add_column(name, justify="right" if name in ("finished", "failed") else "left")
    failures: list[Text] = []
    for paper in store.papers():
        records = list(store.records(paper))
        finished = [record for record in records if record.finished]
        found, damaged = claims_of_sound(finished)
        failures += damaged
        verdicts = counts(found)
        table.add_row(Text(paper), str(len(finished)), str(len(records) - len(finished)), verdicts)
        for record in records:
            if not record.finished:
                error = record.content["error"]
                given = " ".join(f"{name}={shorten(value)}" for name, value in record.content["parameters"].items())
                text = Text("✘ ", style="bold red")
                text.append(f"{paper}  {given}\n    {error['kind']}: {error['message']}\n    {record.folder}")
                failures.append(text)
    if not table.row_count:
        return Text(f"no jobs in {root}")
    running = []
    work = store.root / ".work"
    for folder in sorted(work.iterdir()) if work.is_dir() else []:
        if store.busy(folder.name):
            cell = cell_of(folder)
            running.append(Text(f"▸ running {folder.name}" + (f", cell {cell[0]}/{cell[1]}" if cell else "")))
    return Group(table, *failures, *running)
