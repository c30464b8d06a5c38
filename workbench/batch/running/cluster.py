"""Workers on other processes or machines through Dask distributed (extra `cluster`)."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from workbench.batch.jobs import Job
from workbench.batch.running import workers
from workbench.batch.running.execute import Options
from workbench.batch.running.kernel import ENVIRONMENT

WAIT = 10  # seconds for a scheduler to answer

_SETTINGS = {
    "distributed.worker.daemon": False,  # daemonic workers may not have children, and every job is one
    "distributed.comm.timeouts.connect": f"{WAIT} s",
    "distributed.worker.memory.target": False,  # results are small; a job's memory is watched by its own worker
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def _import() -> Any:
    try:
        import dask
        import distributed
    except ModuleNotFoundError:
        raise ValueError('--scheduler needs Dask: pip install "workbench[cluster]"') from None
    dask.config.set(_SETTINGS)
    return distributed


# pyrefly: ignore[deprecated]
@contextmanager
def connect(scheduler: str, jobs: int | None, memory: int | None = None) -> Iterator[workers.Workers]:
    """Dask workers with one thread each.

    Args:
        scheduler: "local" (a cluster on this machine), "slurm" (through dask-jobqueue; queue, account and the like come from
            its own configuration file), or the address of a running scheduler. Its workers must see the repository and
            the store under the same paths.
        jobs: number of workers to start; default: one per core here; ignored for a running scheduler.
        memory: bytes that a SLURM worker asks for.

    Raises:
        ValueError: when Dask is missing or the scheduler doesn't answer.
    """
    distributed = _import()
    cluster = None
    if scheduler == "local":
        cluster = distributed.LocalCluster(
            n_workers=jobs or workers.cores(),
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=None,
        )
    elif scheduler == "slurm":
        cluster = slurm_cluster(memory)
        cluster.scale(jobs or workers.cores())
    elif "://" not in scheduler:
        raise ValueError(f"--scheduler {scheduler!r}: give 'local', 'slurm' or an address such as tcp://host:8786")
    try:
        client = distributed.Client(cluster or scheduler, timeout=WAIT, set_as_default=False)
    except OSError as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler} ({error})") from None
    try:
        slots = len(client.nthreads()) if cluster is None else (jobs or workers.cores())
        yield workers.Workers(_submitter(client.get_executor(pure=False)), slots)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _submitter(executor: Any) -> Callable[[Job, Options], Future]:
    attempts = itertools.count()

    def submit(job: Job, options: Options) -> Future:
        # A key that had been used before would return the earlier attempt's outcome.
        return executor.submit(workers.supervise, job, options, key=f"{job.paper}-{job.key}-{next(attempts)}")

    return submit


def slurm_cluster(memory: int | None = None) -> Any:
    """A dask-jobqueue cluster whose SLURM jobs are single workers; nothing is submitted before `scale`."""
    _import()
    try:
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError:
        raise ValueError('--scheduler slurm needs dask-jobqueue: pip install "workbench[cluster]"') from None
    inherited = {name: value for name, value in os.environ.items() if name.startswith("WORKBENCH_")}
    exports = [f"export {name}={_quoted(value)}" for name, value in {**inherited, **ENVIRONMENT}.items()]
    return SLURMCluster(
        cores=1,
        processes=1,
        memory=f"{max((memory or 4 * 2**30) // 2**20, 1)} MiB",
        job_name="workbench",
        python=sys.executable,
        job_script_prologue=[*exports, "export DASK_DISTRIBUTED__WORKER__DAEMON=False"],
        scheduler_options={"dashboard_address": None},
    )


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)


def slurm_script(memory: int | None = None) -> str:
    """The script that `--scheduler slurm` submits for each worker."""
    with slurm_cluster(memory) as cluster:
        return cluster.job_script()
