"""What a job uses, noted while it runs: modules of this package, files, programs and addresses beyond the reach of file names.

Runs inside the kernel of a job, so it imports nothing heavy. Where the system lets `follower` see every file that the
process and its children open, files are noted there; elsewhere Python's own audit events are all there is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from workbench.texts import code_hash

# Modules of this package that carry a job rather than compute its results.
CARRIERS = ("workbench.batch", "workbench.cli")

State = tuple[int, int, int]
"""Size, time of the last change and number of a file."""

_read: dict[str, State] = {}
_written: set[str] = set()
_beyond: dict[str, None] = {}
_STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)


@cache
def package_folder() -> Path:
    """Folder of the `workbench` package that this process would import."""
    return Path(__file__).resolve().parents[2]


def module_name(path: Path) -> str:
    """Name of the module of this package in a source file."""
    folder = package_folder()
    return ".".join((folder.name, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")


def module_hashes() -> dict[str, str]:
    """Hash of the code of every `workbench` module on disk that can take part in a result, by its name."""
    names = {path: module_name(path) for path in sorted(package_folder().rglob("*.py"))}
    return {name: code_hash(path) for path, name in names.items() if not name.startswith(CARRIERS)}


def state_of(path: str) -> State | None:
    """What changes when a regular file is written to; None for anything else."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    is_file = found.st_mode & 0o170000 == 0o100000
    return (found.st_size, found.st_mtime_ns, found.st_ino) if is_file else None


def watch(*, followed: bool) -> None:
    """Note from now on what this process opens, starts and connects to; if `followed`, files and children are seen elsewhere."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not followed:
            name, flags = arguments[0], arguments[2] if len(arguments) > 2 else 0
            if isinstance(name, (str, bytes)):
                path = os.path.abspath(os.fsdecode(name))
                if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                    _written.add(path)
                elif path not in _read and path not in _written and (state := state_of(path)) is not None:
                    _read[path] = state
        elif event == "os.rename" and not followed:
            _written.add(os.path.abspath(os.fsdecode(arguments[1])))
        elif event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
                _beyond[f"what {address[0]}:{address[1]} sent"] = None
        elif event in _STARTS and not followed:
            program = str(arguments[0]) if arguments and event != "os.fork" else "a copy of the process"
            _beyond[f"what {program.split(os.sep)[-1][:80]} read"] = None

    sys.addaudithook(hook)


def used() -> str:
    """What this kernel's job has used so far, as JSON; the engine evaluates this in the kernel after the last cell.

    modules: imported `workbench` modules. files: paths opened for reading, with what `state_of` said then. written: paths that
    the job itself wrote. searched: folders in which Python looks for modules. beyond: what it read without a known file name.
    """
    folder = str(package_folder()) + os.sep
    modules = sorted(
        name
        for name, module in list(sys.modules.items())
        if (name == "workbench" or name.startswith("workbench."))
        and not name.startswith(CARRIERS)
        and (getattr(module, "__file__", None) or "").startswith(folder)
    )
    searched = {os.path.abspath(path or os.getcwd()) for path in sys.path}
    for module in list(sys.modules.values()):
        try:
            searched.update(os.path.abspath(path) for path in getattr(module, "__path__", None) or ())
        except Exception:  # a module may answer anything
            continue
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return json.dumps(
        {
            "modules": modules,
            "files": _read,
            "written": sorted(_written),
            "searched": sorted(searched),
            "beyond": list(_beyond),
            "cpu_seconds": round(time.process_time(), 3),
            "gpu": cuda.get_device_name() if cuda is not None and cuda.is_available() else None,
        }
    )
