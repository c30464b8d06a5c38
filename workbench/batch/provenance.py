"""Where a result comes from: code, packages, machine class, time."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.batch.jobs import LOCKED
from workbench.batch.watching import traces

_PACKAGES = (*LOCKED, "workbench", "papermill", "ipykernel", "nbclient", "netCDF4", "pydantic")


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Commit of the checkout that the package comes from and whether tracked files differ from it; empty outside git."""
    folder = traces.package_folder() if folder is None else folder

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


@cache
def machine() -> dict[str, Any]:
    """Class of the machine, without its name."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
    }


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that take part in a job."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, to the second; for the reader only, nothing is decided by it."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def seeds(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters that choose the random numbers."""
    return {name: value for name, value in parameters.items() if "seed" in name}
