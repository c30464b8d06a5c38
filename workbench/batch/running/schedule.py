"""Running a list of jobs to the end: submission, retries, jobs that another run has, interruption."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from workbench.batch.jobs import Job
from workbench.batch.running import workers
from workbench.batch.running.execute import Options, Outcome, record_death

BUSY_PAUSE = 1.0  # seconds before asking again for a job that another run has
TICK = 0.25


@dataclass
class Result:
    """The outcomes of a run, by key of the job, and whether it was interrupted."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    interrupted: bool = False

    def count(self, *statuses: str) -> int:
        return sum(outcome.status in statuses for outcome in self.outcomes.values())


class Listener:
    """What a progress display implements."""

    def submitted(self, job: Job) -> None: ...
    def done(self, job: Job, outcome: Outcome, attempt: int) -> None: ...
    def tick(self) -> None: ...


class _Shielded(Listener):
    """A listener that is not told anything any more once it has failed: a display never ends a batch."""

    def __init__(self, listener: Listener) -> None:
        self._listener: Listener | None = listener

    def _tell(self, what: str, *words: Any) -> None:
        try:
            if self._listener is not None:
                getattr(self._listener, what)(*words)
        except Exception:
            self._listener = None

    def submitted(self, job: Job) -> None:
        self._tell("submitted", job)

    def done(self, job: Job, outcome: Outcome, attempt: int) -> None:
        self._tell("done", job, outcome, attempt)

    def tick(self) -> None:
        self._tell("tick")


def run_jobs(
    jobs: Sequence[Job],
    options: Options,
    submit: Callable[[Job, Options], Future],
    listener: Listener,
    *,
    retries: int = 0,
    fail_fast: bool = False,
) -> Result:
    """Run every job; a failed one is tried again up to `retries` times, then the others go on.

    Args:
        submit: hands a job to an executor (see `workers.executor_for`).
        fail_fast: start no further job after the first that failed for good.
    """
    result = Result()
    listener = _Shielded(listener)
    attempts = dict.fromkeys((job.key for job in jobs), 0)
    pending: dict[Future, Job] = {}
    waiting: deque[tuple[float, Job]] = deque()

    def start(job: Job) -> None:
        pending[submit(job, options)] = job
        listener.submitted(job)

    with _terminate_like_interrupt():
        try:
            for job in jobs:
                start(job)
            while pending or waiting:
                done, _ = wait(pending, TICK, FIRST_COMPLETED)
                for future in done:
                    job = pending.pop(future)
                    outcome = _outcome(future, job, options)
                    if outcome.status == "busy":
                        waiting.append((time.monotonic() + BUSY_PAUSE, job))
                        continue
                    if outcome.status == "failed" and attempts[job.key] < retries:
                        attempts[job.key] += 1
                        listener.done(job, outcome, attempts[job.key])
                        start(job)
                        continue
                    result.outcomes[job.key] = outcome
                    listener.done(job, outcome, attempts[job.key])
                    if outcome.status == "failed" and fail_fast:
                        waiting.clear()
                        for other in list(pending):
                            if other.cancel():
                                del pending[other]
                while waiting and waiting[0][0] <= time.monotonic():
                    start(waiting.popleft()[1])
                if not pending and waiting:
                    time.sleep(TICK)
                listener.tick()
        except KeyboardInterrupt:
            result.interrupted = True
            for future in pending:
                future.cancel()
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                workers.stop_all()  # again and again: a fork server may just be starting
                if not wait([future for future in pending if not future.cancelled()], TICK).not_done:
                    break
    return result


def _outcome(future: Future, job: Job, options: Options) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        return Outcome(job.key, "stopped")
    except Exception as problem:  # a Dask worker died with the job
        error = {"kind": "killed", "message": f"the worker was lost: {type(problem).__name__}: {problem}"}
        return record_death(job, options, error)


# pyrefly: ignore[deprecated]
@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM interrupt the body as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
