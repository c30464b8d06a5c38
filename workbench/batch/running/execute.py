"""One job from start to finish, in a process of its own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from workbench.batch import provenance
from workbench.batch.jobs import Job, Sources, code_hash, digest, places_of
from workbench.batch.results.store import Store, standing, write_json
from workbench.batch.running import kernel
from workbench.batch.watching.descendants import end_of_job
from workbench.batch.watching.guard import Guard, IncompleteError, explain
from workbench.batch.watching.inputs import Used, used_by
from workbench.claims import asked
from workbench.texts import read_text


@dataclass(frozen=True)
class Options:
    """How jobs are run; none of it changes a result.

    Attributes:
        store: folder of the run store.
        force: redo finished jobs.
        timeout: seconds that a job may take, None for any.
        memory: bytes that a job's kernel with its children may hold, None for any.
        git: commit and dirtiness of the checkout, found once per run.
    """

    store: str
    force: bool = False
    timeout: float | None = None
    memory: int | None = None
    git: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `status` is finished, skipped (was finished before), failed, busy (another run has it) or stopped.

    A failed one's `error` has `kind` (raised, timeout, memory, killed, disk, internal), `message` and, where there is one,
    `traceback` and `cell`.
    """

    key: str
    status: str
    folder: str | None = None
    seconds: float = 0.0
    error: Mapping[str, Any] | None = None


def execute(job: Job, options: Options) -> Outcome:
    """Run a job unless it is finished or another process has it, and leave its folder in the store."""
    store = Store(options.store)
    lock = store.lock(job.key)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return Outcome(job.key, "busy")
    try:
        store.recover(job.paper)
        sources = Sources()
        same = [record for record in store.records(job.paper) if record.content["key"] == job.key]
        if not options.force and (record := standing(job, same, sources)) is not None:
            return Outcome(job.key, "skipped", str(record.folder))
        return _execute_locked(job, options, store, sources)
    finally:
        lock.release()


def _execute_locked(job: Job, options: Options, store: Store, sources: Sources) -> Outcome:
    started, start_time = provenance.now(), time.monotonic()
    folder = store.begin(job.key)
    raw: dict[str, Any] = {}
    error = None
    guard = Guard(options.timeout, options.memory, folder / "stderr.txt")
    try:
        _run_notebook(job, folder, guard, raw)
    except Exception as problem:
        error = explain(problem, guard)
    finally:
        guard.close()
        end_of_job(str(folder.resolve()))
    try:
        used = used_by(raw, places_of(job), job.card.parents[1]) if raw else Used()
        identity = sources.identity(job, used)
        content: dict[str, Any] = {
            "status": "finished" if error is None else "failed",
            "paper": job.paper,
            "preset": job.preset,
            "parameters": dict(job.parameters),
            "key": job.key,
            "identity": identity,
        }
        if used.untracked:
            content["untracked"] = list(used.untracked)
        if used.changed or identity != Sources().identity(job, used):
            content["sources_changed"] = True  # edited while the job ran: nobody can say which version it saw
        if error is not None:
            content["error"] = error
        seconds = time.monotonic() - start_time
        write_json(folder / "provenance.json", _provenance(job, options, started, seconds, raw))
        return _keep(job, store, folder, content, seconds)
    except OSError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        error = error or explain(problem, guard)
        return Outcome(job.key, "failed", None, time.monotonic() - start_time, error)


def _run_notebook(job: Job, folder: Path, guard: Guard, raw: dict[str, Any]) -> None:
    import papermill
    from papermill.engines import papermill_engines

    from workbench.batch.running.engine import ForkedEngine

    # The entry point exists only where the package is installed; here it may run from a checkout.
    papermill_engines.register("workbench-forked", ForkedEngine)
    # Papermill reads parameters by regular expressions and warns where a comment defeats them; the card has checked them.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    output, source = folder / "notebook.ipynb", folder / "input.ipynb"
    try:
        code_hash(job.notebook)
        source.write_text(read_text(job.notebook), encoding="utf-8")
    except ValueError as problem:
        raise IncompleteError("notebook", str(problem)) from None
    write_json(folder / asked.ASKED, {"paper": job.paper, "parameters": dict(job.parameters)})
    progress = folder / "progress"

    def braced(path: Path) -> str:
        return str(path).replace("{", "{{").replace("}", "}}")  # papermill formats paths with the parameters

    papermill.execute_notebook(
        braced(source),
        braced(output),
        parameters=dict(job.parameters),
        engine_name="workbench-forked",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        cwd=str(job.notebook.parent),
        job_environment={
            "WORKBENCH_JOB": str(folder.resolve()),
            "WORKBENCH_PRESET": job.preset,
            "WORKBENCH_PAPERS": str(job.card.parents[1]),
        },
        log_file=folder / "stderr.txt",
        on_cell=lambda index, count: _note_progress(progress, index, count),
        on_kernel=guard.watch,
        on_used=raw.update,
    )
    if job.parameters and (problem := asked.difference(folder)):
        raise IncompleteError("parameters", str(problem))


def _note_progress(path: Path, index: int, count: int) -> None:
    with suppress(OSError):  # a full disk shows up where it matters
        path.write_text(f"{index + 1} {count}")


def _provenance(job: Job, options: Options, started: str, seconds: float, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "paper": job.paper,
        "preset": job.preset,
        "parameters": dict(job.parameters),
        "seeds": provenance.seeds(dict(job.parameters)),
        "git": dict(options.git),
        "packages": provenance.packages(),
        "machine": {**provenance.machine(), "gpu": raw.get("gpu")},
        "threads": 1,
        "started": started,
        "finished": provenance.now(),
        "wall_seconds": round(seconds, 3),
        "cpu_seconds": raw.get("cpu_seconds"),
    }


def _keep(job: Job, store: Store, folder: Path, content: dict[str, Any], seconds: float) -> Outcome:
    """Clean up the working folder, add the HTML copy and move it to its place."""
    for name in ("progress", "input.ipynb", asked.ASKED, asked.SEEN):
        (folder / name).unlink(missing_ok=True)
    for part in folder.glob(".*"):
        part.unlink()
    failed = content["status"] == "failed"
    if failed:
        for name in ("claims.json", "results.nc"):  # of an unfinished notebook; what it showed is in the notebook
            (folder / name).unlink(missing_ok=True)
    else:
        (folder / "stderr.txt").unlink(missing_ok=True)
    if (folder / "notebook.ipynb").exists():
        _finish_notebook(folder, job)
    name = job.key if failed else digest(content["identity"])
    place = store.finish(folder, job.paper, name, {"hash": name, **content})
    if not failed:
        store.forget(job.paper, job.key)
    return Outcome(job.key, content["status"], str(place), seconds, content.get("error"))


def _finish_notebook(folder: Path, job: Job) -> None:
    """Take this machine's paths out of the executed notebook and write its HTML copy."""
    import nbformat

    from workbench.batch.running.html import to_html

    path = folder / "notebook.ipynb"
    try:
        notebook: Any = nbformat.read(path, as_version=4)
    except Exception:
        path.unlink()  # cut off by a kill in mid-write
        return
    papermill = notebook.metadata.get("papermill", {})
    papermill.update(input_path=f"{job.paper}.ipynb", output_path="notebook.ipynb")
    part = folder / ".notebook.part"
    part.write_text(nbformat.writes(notebook), encoding="utf-8")
    os.replace(part, path)
    (folder / "notebook.html").write_text(to_html(notebook, job.label), encoding="utf-8")


def record_death(job: Job, options: Options, error: Mapping[str, Any]) -> Outcome:
    """Record a job whose process is gone without a word as failed, with what it left behind."""
    store = Store(options.store)
    lock = store.lock(job.key)
    try:
        lock.acquire(timeout=10)
    except Timeout:
        return Outcome(job.key, "failed", None, 0.0, error)
    try:
        folder = store.work(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "status": "failed",
            "paper": job.paper,
            "preset": job.preset,
            "parameters": dict(job.parameters),
            "key": job.key,
            "identity": Sources().identity(job),
            "error": dict(error),
        }
        return _keep(job, store, folder, content, 0.0)
    except OSError:
        return Outcome(job.key, "failed", None, 0.0, error)
    finally:
        lock.release()


def main(connection: Any, job: Job, options: Options) -> None:
    """What a worker process does: one job, its outcome sent back."""
    kernel.die_with_starter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's to handle
    try:
        outcome = execute(job, options)
    except Exception as problem:
        outcome = Outcome(job.key, "failed", error=explain(problem))
    with suppress(OSError):  # who asked may be gone
        connection.send(outcome)
        connection.close()
