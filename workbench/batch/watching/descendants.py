"""The processes that a job has started, wherever they have gone."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def adopt_orphans() -> None:
    """Stay the ancestor of this process's grandchildren when their parents end (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def descendants(pid: int) -> list[int]:
    """Children of a process, their children, and so on; empty where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in _processes():
        with suppress(OSError, ValueError, IndexError):
            words = (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()
            parents.setdefault(int(words[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def end_descendants(pid: int) -> None:
    """Kill every descendant of a process."""
    for child in descendants(pid):
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)


def end_of_job(folder: str) -> None:
    """Kill what outlived a kernel that crashed: programs whose environment names the job's folder, forks that print into it."""
    mark = f"WORKBENCH_JOB={folder}".encode()
    for entry in _processes():
        with suppress(OSError):
            named = mark in (entry / "environ").read_bytes().split(b"\0")
            if (named or _prints_into(entry, folder)) and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)


def _prints_into(entry: Path, folder: str) -> bool:
    for number in ("1", "2"):
        with suppress(OSError):
            if os.readlink(entry / "fd" / number).startswith(os.path.join(folder, "")):
                return True
    return False


def _processes() -> list[Path]:
    try:
        return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []
