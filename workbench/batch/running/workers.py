"""Who runs jobs: local processes, or Dask workers; both behind the interface of `concurrent.futures`.

A slot of the executor runs `supervise`, which starts a fresh process for its job and waits. So a job that takes its process
down takes nothing else down, and it is known which one it was.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

from workbench.batch.jobs import Job
from workbench.batch.results.store import Store
from workbench.batch.running import execute
from workbench.batch.running.execute import Options, Outcome
from workbench.batch.running.forking import abort_start, process_context, server_pid, stopping

HANGING = 4.0  # seconds beyond --timeout after which a worker that still hasn't stopped its job is killed
UNKNOWN = 255  # exit status of a process whose fork server died before it could say it
RESTARTS = 10  # how often a job begins anew because the fork server died


def stop_all() -> None:
    """Make every `supervise` in this process kill its worker."""
    stopping.set()
    abort_start()


def supervise(job: Job, options: Options) -> Outcome:
    """Run one job in a process of its own and say what became of it; never raises because of the job."""
    start = time.monotonic()
    for _ in range(RESTARTS + 1):
        if stopping.is_set():
            return Outcome(job.key, "stopped")
        try:
            server, process, receiver = _started(job, options)
        except (OSError, EOFError):  # the fork server died as it was asked
            time.sleep(0.1)
            continue
        with receiver:
            outcome = _wait(process, receiver, job, options, server)
        if outcome is not None:
            process.join()
            process.close()
            return replace(outcome, seconds=outcome.seconds or time.monotonic() - start)
        _kill(process.pid)
    error = {"kind": "killed", "message": f"the fork server died {RESTARTS + 1} times while this job started or ran"}
    return execute.record_death(job, options, error)


def _started(job: Job, options: Options) -> tuple[int | None, Any, Any]:
    """The fork server's process id, the worker and the connection that brings its outcome."""
    with process_context() as context:
        receiver, sender = context.Pipe(duplex=False)
        try:
            process = context.Process(target=execute.main, args=(sender, job, options))
            process.start()
        except BaseException:
            receiver.close()
            raise
        finally:
            sender.close()
        return server_pid(), process, receiver


def _wait(process: Any, receiver: Any, job: Job, options: Options, server: int | None) -> Outcome | None:
    """What became of a worker; None where it was lost with the fork server."""
    start = time.monotonic()
    hanging = False
    while not wait([receiver, process.sentinel], 0.2):
        if stopping.is_set():
            process.kill()  # its kernel notices and dies too
            process.join()
            shutil.rmtree(Store(options.store).work(job.key), ignore_errors=True)
            return Outcome(job.key, "stopped")
        if options.timeout is not None and time.monotonic() - start > options.timeout + HANGING:
            hanging = True
            process.kill()
            break
    try:
        if receiver.poll() and (outcome := receiver.recv()) is not None:
            # A kernel dies with the server that it was forked from, and its worker takes that for the job's fault.
            lost = (
                outcome.status == "failed"
                and outcome.error is not None
                and outcome.error["kind"] in ("killed", "internal")
                and _gone(server)
            )
            return None if lost else outcome
    except (EOFError, OSError):
        pass
    process.join()
    if hanging:
        error = {"kind": "timeout", "message": f"the worker did not stop after {options.timeout:g} s and was killed"}
    elif process.exitcode == UNKNOWN or _gone(server):
        return None
    else:
        error = {"kind": "killed", "message": f"the worker process was {_ending(process.exitcode)}"}
    outcome = execute.record_death(job, options, error)
    return Outcome(outcome.key, "failed", outcome.folder, time.monotonic() - start, error)


def _gone(server: int | None) -> bool:
    """Whether the fork server with this process id has ended."""
    if server is None:
        return False
    import psutil

    try:
        return server != server_pid() or psutil.Process(server).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _kill(pid: int) -> None:
    """Kill a worker that outlived the fork server, and wait until it is gone: it holds the job's lock."""
    import psutil

    try:
        process = psutil.Process(pid)
        if any("forkserver" in word for word in process.cmdline()):
            process.kill()
            process.wait(5)
    except psutil.Error:
        pass


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


# pyrefly: ignore[deprecated]
@contextmanager
def local(jobs: int | None) -> Iterator[Workers]:
    """`jobs` workers on this machine (default: one per core)."""
    stopping.clear()
    executor = ThreadPoolExecutor(jobs or cores(), thread_name_prefix="slot")
    try:
        yield Workers(lambda job, options: executor.submit(supervise, job, options), jobs or cores())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
