"""Fresh processes that have already imported the slow libraries: multiprocessing's fork server, set up for jobs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, util
from typing import Any

from workbench.batch.running import kernel

# Of this package only what carries jobs: a module that computes would outlive an edit made while a batch runs.
PRELOAD = (
    "numpy", "torch", "torch.func", "torch._dynamo", "torch._decomp.decompositions_for_jvp", "scipy.stats",
    "scipy.optimize", "scipy.linalg", "pandas", "xarray", "netCDF4", "matplotlib.pyplot",
    "matplotlib.backends.backend_agg", "seaborn", "sklearn.datasets", "pydantic.main", "tqdm.auto", "ipywidgets",
    "jaxtyping", "psutil", "filelock", "pooch", "dask.distributed", "ipykernel.kernelapp", "ipykernel.ipkernel",
    "papermill.clientwrap", "workbench.batch.running.execute", "workbench.batch.running.client", "workbench.batch.running.warm",
)  # fmt: skip
_starting = threading.Lock()
stopping = threading.Event()
"""Set when no process shall be started any more."""


def can_fork() -> bool:
    """Whether processes are forked here; where not, or with WORKBENCH_PLAIN_KERNELS=1, they start from nothing."""
    return "forkserver" in multiprocessing.get_all_start_methods() and os.environ.get("WORKBENCH_PLAIN_KERNELS") != "1"


def preload_list() -> list[str]:
    """Modules that the fork server imports: WORKBENCH_PRELOAD (names separated by commas) or the default list."""
    wish = os.environ.get("WORKBENCH_PRELOAD")
    return list(PRELOAD) if wish is None else [name for name in wish.split(",") if name]


# pyrefly: ignore[deprecated]
@contextmanager
def process_context() -> Iterator[Any]:
    """The multiprocessing context in which the body may start processes.

    Their environment is the job's from their first instruction (thread counts and the hash seed are read once), and they do
    not import the program's `__main__`, which multiprocessing would otherwise do for them.

    Raises:
        OSError: when the fork server dies, or nothing shall be started any more.
    """
    with _starting:
        if stopping.is_set():
            raise InterruptedError("no process is started any more")
        main, environment = sys.modules["__main__"], os.environ.copy()
        sys.modules["__main__"] = types.ModuleType("__main__")
        os.environ.update(kernel.ENVIRONMENT)
        try:
            if can_fork():
                _reach_server()
            yield multiprocessing.get_context("forkserver" if can_fork() else "spawn")
        finally:
            sys.modules["__main__"] = main
            for name in kernel.ENVIRONMENT:
                if name in environment:
                    os.environ[name] = environment[name]
                else:
                    os.environ.pop(name, None)


def short_folder() -> str:
    """A folder for sockets, whose paths may have 107 bytes: the one for temporary files, or another where that is deep."""
    usual = tempfile.gettempdir()
    others = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    fitting = [folder for folder in (usual, *others) if folder and len(os.fsencode(folder)) <= 55]
    return next((folder for folder in fitting if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)), usual)


def server_pid() -> int | None:
    """Process id of the fork server that this process has started, None without one."""
    return forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]


def abort_start() -> None:
    """Let nobody wait for a fork server that is still importing."""
    if _starting.locked() and (pid := server_pid()) is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _keep_sockets_short() -> None:
    config: Any = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    base = short_folder()
    if config.get("tempdir") is None and base != tempfile.gettempdir():
        config["tempdir"] = tempfile.mkdtemp(prefix="pymp-", dir=base)
        util.Finalize(None, shutil.rmtree, args=(config["tempdir"], True), exitpriority=-100)


def _reach_server() -> None:
    """Start the fork server, also in place of one that died, or find the one that this process was itself forked from."""
    _keep_sockets_short()
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    if server._forkserver_pid is None and server._forkserver_address is not None:
        # CPython's ensure_running overlooks an inherited server, and every worker would preload a second one.
        server.ensure_running = lambda: None
    else:
        multiprocessing.set_forkserver_preload(preload_list())
        # Ctrl-C in a terminal reaches the server too, which would say so with a traceback; kernels take it again (`serve`).
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            server.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
