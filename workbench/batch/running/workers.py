"""Who runs jobs: local processes, or Dask workers; both behind the interface of `concurrent.futures`.

A slot of the executor runs `supervise`, which starts a fresh process for its job and waits. So a job that takes its process
down takes nothing else down, and it is known which one it was.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from workbench.batch.jobs import Job
from workbench.batch.results.store import Store
from workbench.batch.running import execute
from workbench.batch.running.execute import Options, Outcome
from workbench.batch.running.forking import process_context

HANGING = 30.0  # seconds beyond --timeout after which a worker that still hasn't stopped its job is killed
_stop = threading.Event()


def stop_all() -> None:
    """Make every `supervise` in this process kill its worker."""
    _stop.set()


def supervise(job: Job, options: Options) -> Outcome:
    """Run one job in a process of its own and say what became of it; never raises because of the job."""
    if _stop.is_set():
        return Outcome(job.key, "stopped")
    start = time.monotonic()
    with process_context() as context:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=execute.main, args=(sender, job, options))
        process.start()
    sender.close()
    with receiver:
        outcome = _wait(process, receiver, job, options, start)
    process.join()
    process.close()
    return outcome


def _wait(process: Any, receiver: Any, job: Job, options: Options, start: float) -> Outcome:
    hanging = False
    while not wait([receiver, process.sentinel], 0.2):
        if _stop.is_set():
            process.kill()  # its kernel notices and dies too
            process.join()
            shutil.rmtree(Store(options.store).work(job.key), ignore_errors=True)
            return Outcome(job.key, "stopped")
        if options.timeout is not None and time.monotonic() - start > options.timeout + HANGING:
            hanging = True
            process.kill()
            break
    try:
        if receiver.poll():
            return receiver.recv()
    except EOFError:
        pass
    process.join()
    if hanging:
        error = {"kind": "timeout", "message": f"the worker did not stop after {options.timeout:g} s and was killed"}
    else:
        error = {"kind": "killed", "message": f"the worker process was {_ending(process.exitcode)}"}
    outcome = execute.record_death(job, options, error)
    return Outcome(outcome.key, "failed", outcome.folder, time.monotonic() - start, error)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"lost with exit status {code}"


@dataclass(frozen=True)
class Workers:
    """How to hand a job to an executor, and how many jobs it runs at once."""

    submit: Callable[[Job, Options], Future]
    slots: int


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local(jobs: int | None) -> Iterator[Workers]:
    """`jobs` workers on this machine (default: one per core)."""
    _stop.clear()
    executor = ThreadPoolExecutor(jobs or cores(), thread_name_prefix="slot")
    try:
        yield Workers(lambda job, options: executor.submit(supervise, job, options), jobs or cores())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
