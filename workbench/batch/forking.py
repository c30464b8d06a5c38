"""Forking clean processes that have already imported the slow libraries: multiprocessing's fork server, set up for jobs."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

from workbench.batch import kernel

# Third-party only: a module of this package imported here would outlive an edit made while a batch runs.
PRELOAD = (
    "numpy", "torch", "torch.func", "scipy.stats", "scipy.optimize", "scipy.linalg", "pandas", "xarray", "netCDF4",
    "matplotlib.pyplot", "seaborn", "sklearn.datasets", "pydantic", "tqdm.auto", "ipywidgets", "jaxtyping", "psutil",
    "ipykernel.kernelapp", "ipykernel.ipkernel", "papermill", "nbclient", "nbconvert",
)  # fmt: skip
_starting = threading.Lock()


def can_fork() -> bool:
    """Whether kernels can be forked here."""
    return "forkserver" in multiprocessing.get_all_start_methods() and os.environ.get("WORKBENCH_PLAIN_KERNELS") != "1"


def preload_list() -> list[str]:
    """Modules that the fork server imports: WORKBENCH_PRELOAD (names separated by commas) or the default list."""
    wish = os.environ.get("WORKBENCH_PRELOAD")
    return list(PRELOAD) if wish is None else [name for name in wish.split(",") if name]


@contextmanager
def fork_context() -> Iterator[Any]:
    """multiprocessing's forkserver context, ready to start a process in the body.

    The fork server is started on the first use with the job's environment (thread counts are read at import). The
    children must not import the program's `__main__`, which multiprocessing would otherwise do for them.
    """
    with _starting:
        multiprocessing.set_forkserver_preload(preload_list())
        server = forkserver._forkserver
        if server._forkserver_pid is None and server._forkserver_address is not None:
            # A forked worker inherits its parent's server, but CPython 3.11's ensure_running overlooks that.
            server.ensure_running = lambda: None
        main, environment = sys.modules["__main__"], os.environ.copy()
        sys.modules["__main__"] = types.ModuleType("__main__")
        os.environ.update(kernel.ENVIRONMENT)
        try:
            yield multiprocessing.get_context("forkserver")
        finally:
            sys.modules["__main__"] = main
            for name in kernel.ENVIRONMENT:
                if name in environment:
                    os.environ[name] = environment[name]
                else:
                    os.environ.pop(name, None)
