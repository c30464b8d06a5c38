"""The process of one job's kernel, forked from a parent that has already imported the slow libraries.

This module is what the fork server's child unpickles first, so it imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# One thread each: unset, the workers' thread pools fight for the cores (1.6 times slower), and the order of sums,
# hence the last digits of a result, would depend on the machine. torch reads OMP_NUM_THREADS once, at import.
SINGLE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
)
ENVIRONMENT = {
    **SINGLE_THREAD,
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}

# Modules of this package that carry a job rather than compute its results.
_CARRIERS = ("workbench.batch", "workbench.cli.app")


def serve(connection_file: str, environment: dict[str, str], folder: str, log: str) -> None:
    """Be an IPython kernel in this freshly forked process until told to stop or until the starter dies.

    Args:
        connection_file: jupyter connection file, written by the kernel manager.
        environment: variables to set on top of the fork server's.
        folder: working directory.
        log: file that receives what the process itself (not its cells) writes to standard output and error.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own: Ctrl-C in the terminal misses it, killing the group takes its children along
    die_with_starter(os.getpid())
    os.environ.update(environment)
    watch_data([root for root in environment.get("WORKBENCH_DATA_ROOTS", "").split(os.pathsep) if root])
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for name in [n for n in sys.modules if n == "workbench" or n.startswith("workbench.")]:
        if not name.startswith(_CARRIERS):
            del sys.modules[name]  # the job imports what computes as it is on the disk now
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # siblings would share the global generator's state
    # Python's own default again: with the fork server's, every tqdm bar would leave a semaphore to a tracker process.
    multiprocessing.set_start_method(None, force=True)
    sys.argv = ["ipykernel_launcher", "-f", connection_file]
    sys.path.insert(0, "")  # as for `python -m ipykernel_launcher`: modules beside the notebook are found

    from ipykernel.kernelapp import IPKernelApp

    sys.modules["debugpy"] = None  # type: ignore[assignment]  # nobody debugs a job, and its import takes 0.3 s
    application = IPKernelApp.instance()
    application.initialize(["-f", connection_file, "--HistoryManager.hist_file=:memory:"])
    del sys.modules["debugpy"]
    application.start()
    os._exit(0)  # the fork server's clean-up is not this process's business


def die_with_starter(process_group: int | None = None) -> None:
    """Kill this process (and its group) as soon as the process that asked the fork server for it is gone.

    A thread watches the starter. A cell stuck in native code that holds the interpreter lock would starve that thread;
    therefore the process also lets go of the fork server's "alive" pipe and asks the kernel to be killed with the fork
    server, which ends when no starter holds that pipe any more.
    """
    starter = multiprocessing.parent_process()
    if starter is None:
        return

    def watch() -> None:
        wait([starter.sentinel])
        if process_group is not None and hasattr(os, "killpg"):
            os.killpg(process_group, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="starter-watch", daemon=True).start()
    if process_group is not None and sys.platform == "linux":
        server: Any = forkserver._forkserver  # type: ignore[attr-defined]
        if server._forkserver_alive_fd is not None:
            os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_address = None
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


_data: set[str] = set()


def watch_data(roots: list[str]) -> None:
    """Note from now on which data sets (folders directly under a root) this process opens a file of."""
    prefixes = tuple(os.path.join(os.path.realpath(root), "") for root in roots)
    if not prefixes:
        return

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            path = os.path.realpath(arguments[0]) if not arguments[0].startswith(prefixes) else arguments[0]
            for prefix in prefixes:
                if path.startswith(prefix):
                    _data.add(path[len(prefix) :].split(os.sep)[0])

    sys.addaudithook(hook)


def package_folder() -> Path:
    """Folder of the `workbench` package that this process would import."""
    return Path(__file__).resolve().parent.parent


def source_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def module_hashes() -> dict[str, str]:
    """Hash of the source of every `workbench` module on disk that can take part in a result, by its name."""
    folder = package_folder()
    found = {}
    for path in sorted(folder.rglob("*.py")):
        name = ".".join((folder.name, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
        if not name.startswith(_CARRIERS):
            found[name] = source_hash(path)
    return found


def used() -> str:
    """What this kernel's job has used so far, as JSON: imported `workbench` modules, data sets, CPU time.

    The engine evaluates this in the kernel after the last cell.
    """
    folder = str(package_folder()) + os.sep
    modules = sorted(
        name
        for name, module in list(sys.modules.items())
        if (name == "workbench" or name.startswith("workbench."))
        and not name.startswith(_CARRIERS)
        and (getattr(module, "__file__", None) or "").startswith(folder)
    )
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return json.dumps(
        {
            "modules": modules,
            "data": sorted(_data),
            "cpu_seconds": round(time.process_time(), 3),
            "gpu": cuda.get_device_name() if cuda is not None and cuda.is_available() else None,
        }
    )
