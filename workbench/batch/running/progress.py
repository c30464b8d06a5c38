"""What the terminal shows while jobs run: a live table, or one line per event where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workbench.batch.jobs import Job
from workbench.batch.results.store import Store
from workbench.batch.running.execute import Outcome
from workbench.batch.running.schedule import Listener

SHOWN = 12  # running jobs in the table


def duration(seconds: float) -> str:
    """Seconds as a short text: "8 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def cell_of(work: Path) -> tuple[int, int] | None:
    """(cell, cells) of a running job, None before its first cell."""
    try:
        cell, cells = map(int, (work / "progress").read_text().split())
    except (OSError, ValueError):
        return None
    return cell, cells


@dataclass
class _Running:
    job: Job
    since: float
    cell: tuple[int, int] | None = None


class Progress(Listener):
    """Counts jobs, watches the store for the cell each running one is in, and estimates the time that is left."""

    def __init__(self, jobs: Sequence[Job], store: Store, console: Console, slots: int | None) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.store, self.console, self.slots = store, console, slots
        self.outcomes: dict[str, Outcome] = {}
        self._durations: dict[str, list[float]] = {}
        self._waiting = dict(self.jobs)
        self._running: dict[str, _Running] = {}
        self._start = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def submitted(self, job: Job) -> None:
        self._waiting[job.key] = job

    def done(self, job: Job, outcome: Outcome, attempt: int) -> None:
        self._waiting.pop(job.key, None)
        self._running.pop(job.key, None)
        self.outcomes[job.key] = outcome
        if outcome.status == "finished":
            self._durations.setdefault(job.paper, []).append(outcome.seconds)
        if outcome.status == "skipped" and self._live is not None:
            return
        line = Text(f"{MARKS[outcome.status]} {outcome.status:<8} ", style=STYLES[outcome.status])
        line.append(f"{len(self.outcomes):>{len(str(len(self.jobs)))}}/{len(self.jobs)}  ", style="dim")
        line.append(job.label, style="default")
        if outcome.status in ("finished", "failed"):
            line.append(f"  {duration(outcome.seconds)}", style="dim")
        if outcome.error is not None:
            line.append(f"\n    {outcome.error['kind']}: {outcome.error['message']}", style="red")
        self.console.print(line, soft_wrap=True)

    def tick(self) -> None:
        now = time.monotonic()
        for key, job in list(self._waiting.items()):
            if self.slots is not None and len(self._running) >= self.slots:
                break
            if self.store.work(key).exists():
                self._running[key] = _Running(job, now)
                del self._waiting[key]
        for key, running in self._running.items():
            cell = cell_of(self.store.work(key))
            if cell is not None and cell != running.cell:
                running.cell = cell
                if self._live is None and cell[0] == 1:
                    self.console.print(f"· started  {running.job.label}", soft_wrap=True, highlight=False)
        if self._live is not None:
            self._live.update(self._table())

    def remaining(self, running: _Running) -> float | None:
        """Seconds that a job probably still needs, by the mean of its paper's finished jobs, None without one."""
        known = self._durations.get(running.job.paper)
        return None if not known else max(fmean(known) - (time.monotonic() - running.since), 0.0)

    def total_remaining(self) -> float | None:
        """Seconds until all jobs are probably done, None before the first has finished."""
        lengths = [length for known in self._durations.values() for length in known]
        if not lengths:
            return None
        rest = [self.remaining(running) or 0.0 for running in self._running.values()]
        rest += [fmean(self._durations.get(job.paper, lengths)) for job in self._waiting.values()]
        return sum(rest) / max(self.slots or len(self._running), 1)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("job", "cell", "elapsed", "left about"):
            table.add_column(heading, justify="left" if heading == "job" else "right", no_wrap=True)
        for running in list(self._running.values())[:SHOWN]:
            cell = f"{running.cell[0]}/{running.cell[1]}" if running.cell else "start"
            left = self.remaining(running)
            elapsed = duration(time.monotonic() - running.since)
            table.add_row(Text(running.job.label), cell, elapsed, "" if left is None else duration(left))
        if len(self._running) > SHOWN:
            table.add_row(f"… and {len(self._running) - SHOWN} more", "", "", "")
        if not self._running and not self.outcomes:
            return Group(Text("starting the workers: the libraries are imported once", style="dim"), self.headline())
        return Group(table, self.headline())

    def headline(self) -> Text:
        """Counts and times on one line."""
        count = {status: sum(o.status == status for o in self.outcomes.values()) for status in MARKS}
        text = Text(f"{len(self.outcomes)}/{len(self.jobs)} jobs")
        for status, number in count.items():
            if number:
                text.append(f"  {MARKS[status]} {number} {status}", style=STYLES[status])
        text.append(f"  {duration(time.monotonic() - self._start)}", style="dim")
        left = self.total_remaining()
        if left:
            text.append(f", about {duration(left)} left", style="dim")
        return text


MARKS = {"finished": "✔", "skipped": "=", "failed": "✘", "stopped": "■"}
STYLES = {"finished": "green", "skipped": "dim", "failed": "bold red", "stopped": "yellow"}
