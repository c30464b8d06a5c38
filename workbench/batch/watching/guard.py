"""What ends a job before its time, and what is said about it."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.batch.watching.descendants import end_descendants

LOG_LIMIT = 1_000_000  # bytes kept of what a kernel writes outside its cells
INTERRUPT_GRACE = 1.5  # seconds between asking a cell that ran out of time to stop, and killing its kernel
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Guard:
    """Watches a kernel and ends it when it has used up its time or its memory; `reason` then says which.

    Args:
        log: a file that does not grow beyond a limit while it is watched.
    """

    def __init__(self, timeout: float | None, memory: int | None, log: Path) -> None:
        self._log, self._cut = log, False
        self.reason: str | None = None
        self.peak = 0
        self._pid: int | None = None
        self._timeout, self._memory = timeout, memory
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def watch(self, pid: int) -> None:
        self._pid = pid

    def close(self) -> None:
        self._over.set()
        self._bound_log()
        if self._cut:
            with suppress(OSError), self._log.open("a") as file:
                file.write(f"\n[output beyond {LOG_LIMIT:,} bytes is not kept]\n")

    def _bound_log(self) -> None:
        with suppress(OSError):
            if self._log.stat().st_size > LOG_LIMIT:
                os.truncate(self._log, LOG_LIMIT)
                self._cut = True

    def message(self) -> str:
        if self.reason == "timeout":
            return f"stopped after {self._timeout:g} s (--timeout)"
        limit = (self._memory or 0) / 2**30
        return f"stopped at {self.peak / 2**30:.2f} GiB of memory; the limit is {limit:.2f} GiB (--memory)"

    def _watch(self) -> None:
        killing_at = None
        while not self._over.wait(0.1):
            self._bound_log()
            if self._pid is None:
                continue
            if self._memory is not None and self.reason is None:
                self.peak = max(self.peak, resident_memory(self._pid))
                if self.peak > self._memory:
                    self.reason, killing_at = "memory", time.monotonic()
            if self._deadline is not None and self.reason is None and time.monotonic() > self._deadline:
                # An interrupt first: the notebook then shows where it was.
                self.reason, killing_at = "timeout", time.monotonic() + INTERRUPT_GRACE
                _signal(os.kill, self._pid, signal.SIGINT)
            if killing_at is not None and time.monotonic() >= killing_at:
                end_descendants(self._pid)
                _signal(os.killpg, self._pid, signal.SIGKILL)
                return


class IncompleteError(Exception):
    """A notebook whose cells raised nothing, and which yet is not the job that was asked for."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _signal(send: Any, pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        send(pid, number)


def resident_memory(pid: int) -> int:
    """Bytes of memory that a process and its descendants hold."""
    import psutil

    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def explain(problem: BaseException, guard: Guard | None = None) -> dict[str, Any]:
    """A failure as data: kind, message, and the notebook's traceback and cell where it raised."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    found: dict[str, Any] = {"kind": "internal", "message": f"{type(problem).__name__}: {problem}"}
    if isinstance(problem, PapermillExecutionError):
        first = str(problem.evalue).strip()
        found = {
            "kind": "raised",
            "message": f"{problem.ename}: {first}" if first else problem.ename,
            "cell": problem.cell_index,
            "traceback": _ANSI.sub("", "\n".join(problem.traceback)),
        }
    elif isinstance(problem, IncompleteError):
        found = {"kind": problem.kind, "message": str(problem)}
    elif isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        found = {"kind": "disk", "message": f"the disk is full or a quota is reached ({problem.strerror})"}
    elif isinstance(problem, DeadKernelError):
        found = {
            "kind": "killed",
            "message": "the kernel died: killed (out of memory, or by a signal), crashed, or ended by a cell (quit())",
        }
    if guard is not None and guard.reason is not None:
        found.update(kind=guard.reason, message=guard.message())
    return found
