"""The process of one job's kernel, forked from a parent that has already imported the slow libraries.

This module is what the fork server's child unpickles first, so it imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any

from workbench.batch.watching import follower, traces
from workbench.batch.watching.descendants import adopt_orphans, end_descendants

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


def serve(connection_file: str, environment: dict[str, str], folder: str, log: str) -> None:
    """Be an IPython kernel in this freshly forked process until told to stop or until the starter dies.

    Args:
        connection_file: jupyter connection file, written by the kernel manager.
        environment: variables to set on top of the fork server's.
        folder: working directory.
        log: file that receives what the process itself (not its cells) writes to standard output and error.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    adopt_orphans()  # also those in a session of their own end with the job
    if hasattr(os, "setsid"):
        os.setsid()  # a group of its own: Ctrl-C in the terminal misses it, killing the group takes its children along
    die_with_starter(os.getpid())
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for name in [n for n in sys.modules if n == "workbench" or n.startswith("workbench.")]:
        if not name.startswith(traces.CARRIERS):
            del sys.modules[name]  # the job imports what computes as it is on the disk now
    traces.watch(followed=follower.install(environment.get("WORKBENCH_FOLLOWER", "")))
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
            end_descendants(os.getpid())
            os.killpg(process_group, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="starter-watch", daemon=True).start()
    if process_group is not None and sys.platform == "linux":
        server: Any = forkserver._forkserver  # type: ignore[attr-defined]
        if server._forkserver_alive_fd is not None:
            os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_address = None
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
