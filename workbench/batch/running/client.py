"""The papermill client of one job: its kernel (forked where possible), its bounded output, what it imported."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine
from papermill.log import logger
from traitlets import Any as AnyValue
from traitlets import Dict, DottedObjectName, Unicode

from workbench.batch.running import kernel
from workbench.batch.running.forking import process_context, short_folder
from workbench.batch.watching import traces
from workbench.batch.watching.descendants import end_descendants
from workbench.batch.watching.follower import Follower, ignored_places
from workbench.batch.watching.guard import IncompleteError

PRINT_LIMIT = 1_000_000  # characters of printed text kept per cell


class KernelProcess:
    """The part of `subprocess.Popen` that a kernel provisioner uses, for a process of multiprocessing."""

    stdin = stdout = stderr = None

    def __init__(self, connection_file: str, environment: dict[str, str], folder: str, log: str) -> None:
        with process_context() as context:
            self._process = context.Process(target=kernel.serve, args=(connection_file, environment, folder, log))
            self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        end_descendants(self.pid)
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()


class KernelProvisioner(LocalProvisioner):
    """Launches `kernel.serve` in a new process instead of the kernel specification's command."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        manager: Any = self.parent
        folder = str(kwargs.get("cwd") or os.getcwd())
        self.process = KernelProcess(manager.connection_file, manager.job_environment, folder, manager.log_file)
        self.pid = self.pgid = self.process.pid
        self.cwd = folder
        return self.connection_info

    async def wait(self) -> int | None:
        # As the base class does, which looks ten times a second: a tenth of a job's overhead.
        while await self.poll() is None:
            await asyncio.sleep(0.01)
        process, self.process = self.process, None
        return None if process is None else process.wait()


class KernelClient(AsyncKernelClient):
    """Waits for its kernel by the monotonic clock, and only until both channels answer."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        deadline = time.monotonic() + (60 if timeout is None else timeout)
        while time.monotonic() < deadline:
            self.kernel_info()
            with suppress(Empty):
                message = await self.shell_channel.get_msg(timeout=1)
                if message["msg_type"] == "kernel_info_reply":
                    await self.iopub_channel.get_msg(timeout=0.2)
                    self._handle_kernel_info_reply(message)
                    return
            if not await self._async_is_alive():
                raise RuntimeError("the kernel died while it started")
        raise RuntimeError("the kernel did not start in time")

    wait_for_ready = _async_wait_for_ready


class KernelManager(AsyncKernelManager):
    """A kernel on Unix sockets in a short folder of its own, so that kernels started at once don't race for ports."""

    client_class = DottedObjectName(f"{__name__}.KernelClient")
    job_environment = Dict()
    log_file = Unicode(os.devnull)
    started = AnyValue()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = tempfile.mkdtemp(prefix="wb", dir=short_folder())
        self.connection_file = os.path.join(self.folder, "k.json")
        if os.name == "posix":
            self.transport = "ipc"
            self.ip = os.path.join(self.folder, "s")
        self.follower: Follower | None = None

    async def _async_pre_start_kernel(self, **kw: Any) -> Any:
        self.job_environment = {**kernel.ENVIRONMENT, "IPYTHONDIR": self.folder, **self.job_environment}
        with suppress(OSError, AttributeError):  # no Unix sockets: not followed
            address = os.path.join(self.folder, "f")
            own = [self.folder, *([job] if (job := self.job_environment.get("WORKBENCH_JOB")) else [])]
            self.follower = Follower(address, ignored_places(own))
            self.job_environment["WORKBENCH_FOLLOWER"] = address
        self.provisioner = KernelProvisioner(parent=self, kernel_id=self.kernel_id or "", kernel_spec=self.kernel_spec)
        return await super()._async_pre_start_kernel(**kw)

    async def _async_post_start_kernel(self, **kw: Any) -> None:
        await super()._async_post_start_kernel(**kw)
        if self.started is not None:
            self.started(getattr(self.provisioner, "pid", None))

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            if self.follower is not None:
                self.follower.close()
            shutil.rmtree(self.folder, ignore_errors=True)


class Client(PapermillNotebookClient):
    """Papermill's client, with bounded printed output and a question to the kernel after the last cell."""

    def __init__(self, nb_man: Any, on_cell: Callable[[int, int], None], manager: dict[str, Any], **kw: Any) -> None:
        super().__init__(nb_man, **kw)
        self._on_cell = on_cell
        self._manager = manager
        self._printed: dict[int, int] = defaultdict(int)
        self.used: dict[str, Any] = {}

    def create_kernel_manager(self) -> KernelManager:
        # Created here and not handed in: nbclient leaves a kernel alive whose manager it doesn't own.
        self.km = KernelManager(kernel_name=self.kernel_name, config=self.config, **self._manager)
        return self.km

    def papermill_execute_cells(self) -> None:
        super().papermill_execute_cells()
        cells = [(i, cell) for i, cell in enumerate(self.nb.cells) if cell.cell_type == "code" and cell.source.strip()]
        failed = False
        for index, cell in cells:
            errors = [output for output in cell.outputs if output.output_type == "error"]
            # Papermill takes an exit for success.
            if any(output.ename in ("SystemExit",) for output in errors):
                raise IncompleteError(
                    "ended early", f"cell {index} ended the notebook ({errors[0].ename}): {_first(cell)}"
                )
            failed = failed or bool(errors)
        if failed:  # papermill says so
            return
        if self.km is None or self.kc is None or not self.km.has_kernel or not self._alive():
            ran = [cell for _, cell in cells if cell.execution_count is not None]
            raise IncompleteError("ended early", f"the kernel was gone after {len(ran)} of {len(cells)} cells")
        for index, cell in cells:
            if cell.execution_count is None and "raises-exception" not in cell.metadata.get("tags", []):
                raise IncompleteError("ended early", f"cell {index} was not run: {_first(cell)}")
        self.used = self._ask()

    def _alive(self) -> bool:
        return bool(run_sync(self.km.is_alive)()) if self.km is not None else False  # type: ignore[bad-argument-type]

    def _ask(self) -> dict[str, Any]:
        """What the job used, by its own account and that of the follower."""
        question = f"__import__({traces.__name__!r}, fromlist=['used']).used()"
        try:
            assert self.kc is not None
            reply: Any = self.wait_for_reply(
                self.kc.execute("", silent=True, store_history=False, user_expressions={"used": question})
            )
            used = json.loads(ast.literal_eval(reply["content"]["user_expressions"]["used"]["data"]["text/plain"]))
        except Exception as problem:
            message = "the kernel ended before it could say what it had used; does a cell call quit()?"
            raise IncompleteError("ended early", f"{message} ({type(problem).__name__})") from None
        follower = self.km.follower if isinstance(self.km, KernelManager) else None
        used["listed"] = []
        if follower is not None and follower.active:
            used |= {"files": follower.read, "written": sorted(follower.written), "listed": sorted(follower.listed)}
            if follower.unseen:
                used["beyond"].append("files whose names could not be seen")
        else:
            used["beyond"].append(
                "files that libraries opened without Python (this system does not let them be followed)"
            )
        return used

    def execute_cell(self, cell: Any, cell_index: int, **kwargs: Any) -> Any:
        self._on_cell(cell_index, len(self.nb.cells))
        return super().execute_cell(cell, cell_index, **kwargs)

    def output(self, outs: Any, msg: Any, display_id: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "stream":
            text = msg["content"]["text"]
            before = self._printed[cell_index]
            self._printed[cell_index] += len(text)
            if before > PRINT_LIMIT:
                return None
            if before + len(text) > PRINT_LIMIT:
                note = f"\n[printed output beyond {PRINT_LIMIT:,} characters of this cell is not kept]\n"
                msg["content"]["text"] = text[: PRINT_LIMIT - before] + note
        return super().output(outs, msg, display_id, cell_index)


def _first(cell: Any) -> str:
    return next((line for line in cell.source.splitlines() if line.strip()), "")[:80]


class ManagedEngine(Engine):
    """What `engine.ForkedEngine` stands for."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        job_environment: dict[str, str] | None = None,
        log_file: Path | str = os.devnull,
        on_cell: Callable[[int, int], None] = lambda index, count: None,
        on_kernel: Callable[[int], None] | None = None,
        on_used: Callable[[dict[str, Any]], None] = lambda used: None,
        **ignored: Any,
    ) -> None:
        """Run every cell; the extra arguments are this package's.

        Args:
            job_environment: variables for the kernel.
            log_file: receives what the kernel process writes outside its cells.
            on_cell: called with (index of the cell about to run, number of cells).
            on_kernel: called with the kernel's process id.
            on_used: called with what the notebook imported (see `traces.used`).
        """
        client = Client(
            nb_man,
            on_cell,
            {"job_environment": job_environment or {}, "log_file": str(log_file), "started": on_kernel},
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            shutdown_kernel="immediate",
        )
        try:
            client.execute()
        finally:
            on_used(client.used)
