"""What the terminal shows while jobs run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from workbench.batch.jobs import Job
from workbench.batch.results.store import Store
from workbench.batch.running.execute import Outcome
from workbench.batch.running.progress import Progress, cell_of, duration
from workbench.batch.running.schedule import run_jobs


def jobs(count: int) -> list[Job]:
    return [Job("toy", Path("n"), Path("c"), "laptop", {"rho": i}, ("rho",)) for i in range(count)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_running_job_shows_its_cell_and_the_time_that_is_left(tmp_path):
    store, console = Store(tmp_path), Console(file=io.StringIO(), force_terminal=True, width=120)
    first, second, third = jobs(3)
    with Progress([first, second, third], store, console, slots=1) as progress:
        for job in (first, second, third):
            progress.submitted(job)
        assert progress.total_remaining() is None  # nothing is known yet
        work = store.begin(first.key)
        progress.tick()
        (work / "progress").write_text("3 17")
        progress.tick()
        shown = Console(width=120, record=True, file=io.StringIO())
        shown.print(progress._table())
        text = shown.export_text()
        assert "toy rho=0" in text and "3/17" in text and "0/3 jobs" in text and "rho=1" not in text
        progress.done(first, Outcome(first.key, "finished", seconds=10.0), 0)
        assert progress.total_remaining() == pytest.approx(20)
        progress.done(second, Outcome(second.key, "failed", error={"kind": "raised", "message": "[bold]no[/bold]"}), 0)
        assert "1 finished" in progress.headline().plain and "1 failed" in progress.headline().plain
    printed = console.file.getvalue()
    assert "[bold]no[/bold]" in printed and "rho=1" in printed


def test_without_a_terminal_there_is_one_plain_line_per_event(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    (job,) = jobs(1)
    store = Store(tmp_path)
    with Progress([job], store, console, slots=1) as progress:
        progress.submitted(job)
        (store.begin(job.key) / "progress").write_text("1 4")
        progress.tick()
        progress.done(job, Outcome(job.key, "finished", seconds=3), 0)
    assert console.file.getvalue().splitlines() == ["· started  toy rho=0", "✔ finished 1/1  toy rho=0  3 s"]


def test_a_progress_file_in_the_making_is_no_cell(tmp_path):
    assert cell_of(tmp_path) is None
    for text in ("", "3", "a b", "1 2 3"):
        (tmp_path / "progress").write_text(text)
        assert cell_of(tmp_path) is None


class Script:
    """Workers that follow a script: the statuses of each job's attempts."""

    def __init__(self, statuses: dict[int, list[str]]) -> None:
        self.statuses, self.asked = statuses, []

    def submit(self, job, options):
        from concurrent.futures import Future

        future: Future = Future()
        rho = job.parameters["rho"]
        self.asked.append(rho)
        if self.statuses[rho]:
            status = self.statuses[rho].pop(0)
            error = {"kind": "raised", "message": "m"} if status == "failed" else None
            future.set_result(Outcome(job.key, status, error=error))
        return future


class Silent:
    def submitted(self, job): ...
    def done(self, job, outcome, attempt): ...
    def tick(self): ...


def test_failures_are_retried_and_busy_jobs_asked_for_again(monkeypatch):
    monkeypatch.setattr("workbench.batch.running.schedule.BUSY_PAUSE", 0.0)
    monkeypatch.setattr("workbench.batch.running.schedule.TICK", 0.001)
    script = Script({0: ["finished"], 1: ["failed", "finished"], 2: ["busy", "busy", "skipped"], 3: ["failed"] * 9})
    result = run_jobs(jobs(4), None, script.submit, Silent(), retries=2)
    statuses = [result.outcomes[job.key].status for job in jobs(4)]
    assert statuses == ["finished", "finished", "skipped", "failed"]
    assert [script.asked.count(i) for i in range(4)] == [1, 2, 3, 3]


def test_fail_fast_starts_nothing_more():
    script = Script({0: ["failed"], 1: [], 2: []})  # 1 and 2 wait for a worker for ever
    result = run_jobs(jobs(3), None, script.submit, Silent(), fail_fast=True)
    assert [outcome.status for outcome in result.outcomes.values()] == ["failed"] and not result.interrupted
