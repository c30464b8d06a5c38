"""What a job costs beyond its notebook's own compute, 200 jobs with a fault every ten, and 1,000 jobs as one Dataset."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import psutil
import xarray

import workbench as wb
from benchmarks.measure import once, row
from workbench.batch.grid import Request, plan
from workbench.batch.jobs import digest
from workbench.batch.results.store import Store
from workbench.batch.running import workers
from workbench.batch.running.execute import Options
from workbench.claims.recording import write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "batch"))
from made_up_papers import FAULTS, Repository

IMPORTS = "import torch, xarray, seaborn\nimport matplotlib.pyplot as plt\nimport workbench as wb"


def rows() -> list[dict[str, object]]:
    """Seconds of wall time where the text says so, CPU seconds of all processes elsewhere."""
    return [*_overhead(), _faults(), _signals(), _open()]


@contextmanager
def _repository(body: str) -> Iterator[Repository]:
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(Path(folder))
        repository.paper(body=body)
        before = os.environ.get("WORKBENCH_PAPERS")
        os.environ["WORKBENCH_PAPERS"] = str(repository.root / "papers")
        try:
            yield repository
        finally:
            if before is None:
                del os.environ["WORKBENCH_PAPERS"]
            else:
                os.environ["WORKBENCH_PAPERS"] = before


def _overhead() -> list[dict[str, object]]:
    with _repository(IMPORTS) as repository:
        jobs = plan([Request(["toy"], grid={"rho": list(range(12))})])
        options = Options(str(repository.runs), force=True)
        cold = _beyond_compute(lambda: Path(workers.supervise(jobs[0], options).folder or "") / "notebook.ipynb")
        warm, warm_cpu = [], []
        for job in jobs[1:]:
            before = _forked_cpu()
            warm.append(
                _beyond_compute(lambda job=job: Path(workers.supervise(job, options).folder or "") / "notebook.ipynb")
            )
            warm_cpu.append(_forked_cpu() - before)
        plain, plain_cpu = [], []
        for _ in range(3):
            before = _children_cpu()
            plain.append(_beyond_compute(lambda: _papermill(repository)))
            plain_cpu.append(_children_cpu() - before)
    note = (
        f"wall beyond the notebook's cells, imports counted: first job {cold:.2f} s, then {statistics.median(warm):.2f} s "
        f"(least {min(warm):.2f} s); papermill {statistics.median(plain):.2f} s"
    )
    ours, theirs = statistics.median(warm_cpu), statistics.median(plain_cpu)
    return [row("a job that imports torch, xarray, seaborn; warm", ours, "papermill, plain kernel", theirs, note)]


def _papermill(repository: Repository) -> Path:
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3"]
    paths = [str(repository.root / "notebooks" / "toy.ipynb"), str(repository.root / "out.ipynb")]
    subprocess.run([*command, *paths], check=True, capture_output=True)
    return repository.root / "out.ipynb"


def _beyond_compute(call: Callable[[], Path]) -> float:
    """Wall seconds of a call that executes a notebook, without those of its cells; the cell of the imports counts."""
    start = time.monotonic()
    executed = call()
    wall = time.monotonic() - start
    cells = json.loads(executed.read_text())["cells"]
    own = (c["metadata"]["papermill"]["duration"] or 0.0 for c in cells if "import torch" not in "".join(c["source"]))
    return wall - sum(own)


def _forked_cpu() -> float:
    """CPU seconds of the fork server and of all processes that it has forked and that have ended."""
    fields = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _faults() -> dict[str, object]:
    count = 200
    kinds = ["kill-worker once", "raise once", "kill-kernel once", "eat once"]
    texts = [kinds[i // 10 % 4] if i % 10 == 9 else "none" for i in range(count)]
    words = ["run", "toy", "--preset", "smoke", "--zip", "rho=" + ",".join(map(str, range(count)))]
    words += ["--zip", "text=" + ",".join(texts), "--retries", "1", "--memory", "0.7", "-j", "2"]
    seconds, claims = {}, {}
    for disturbed in (True, False):
        with _repository(FAULTS) as repository:
            (repository.root / "faults").mkdir()
            environment = {"FAULTS": str(repository.root / "faults")} if disturbed else {}
            start = time.monotonic()
            result = repository(*words, timeout=3600, **environment)
            seconds[disturbed], claims[disturbed] = time.monotonic() - start, repository.claims()
            if result.returncode:
                raise RuntimeError(result.stdout + result.stderr)
    equal = "equal" if claims[True] == claims[False] and len(claims[True]) == count else "DIFFERENT"
    note = f"wall seconds; claims.json of the two stores: {equal}"
    return row("200 smoke jobs, two workers, a fault every ten", seconds[True], "undisturbed", seconds[False], note)


def _signals(count: int = 30, jobs: int = 24) -> dict[str, object]:
    """`count` random signals to the program, its fork server, its workers and kernels, started again whenever it has ended."""
    chance, names = random.Random(0), ("INT", "TERM", "KILL", "HUP", "QUIT", "ABRT", "SEGV", "USR1", "STOP")
    words = ["run", "toy", "--grid", "rho=" + ",".join(map(str, range(jobs))), "-p", "text=slow", "-j", "2"]
    lost = twice = sent = restarts = 0
    with _repository(FAULTS) as repository:
        faults = repository.root / "faults"
        faults.mkdir()
        start = time.monotonic()
        while True:
            kept, before = repository.content(), len(_started(faults))
            finished = {r["parameters"]["rho"] for r in repository.records() if r["status"] == "finished"}
            program = repository.start(*words, FAULTS=str(faults))
            with subprocess.Popen(["cat"], stdin=program.stdout, stdout=subprocess.DEVNULL):
                while sent < count and program.poll() is None:
                    time.sleep(chance.uniform(0.2, 3.0))
                    sent += _strike(program, chance, getattr(signal, "SIG" + chance.choice(names)))
                program.wait(600)
            now = repository.content()
            lost += sum(now.get(name) != content for name, content in kept.items() if name.split("/")[1] in _done(kept))
            twice += len(finished & set(_started(faults)[before:]))
            if sent >= count and program.returncode == 0:
                break
            restarts += 1
        seconds, records, claims = time.monotonic() - start, repository.records(), repository.claims()
        verified = repository("verify", "--store", str(repository.runs)).returncode == 0
    with _repository(FAULTS) as repository:
        start = time.monotonic()
        repository(*words, timeout=3600)
        undisturbed, equal = time.monotonic() - start, repository.claims() == claims
    whole = [record["status"] for record in records] == ["finished"] * jobs and verified and equal
    note = f"wall seconds; {sent} signals, started again {restarts} times: {lost} files lost, {twice} jobs run twice; "
    note += "every job finished, claims.json equal" if whole else "INCOMPLETE"
    return row(f"{jobs} jobs, {count} random signals", seconds, "undisturbed", undisturbed, note)


def _strike(program: subprocess.Popen[str], chance: random.Random, number: signal.Signals) -> bool:
    """Send the signal to the program or one of its descendants; a stopped one goes on after half a second."""
    try:
        process = chance.choice([psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)])
        process.send_signal(number)
        if number == signal.SIGSTOP:
            time.sleep(0.5)
            process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        return False
    return True


def _started(faults: Path) -> list[float]:
    log = faults / "started"
    return [float(line.split()[2]) for line in log.read_text().splitlines()] if log.exists() else []


def _done(content: dict[str, bytes]) -> set[str]:
    """Hashes of the jobs that were finished."""
    return {
        name.split("/")[1]
        for name, text in content.items()
        if name.endswith("job.json") and json.loads(text)["status"] == "finished"
    }


def _open() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for index in range(1000):
            parameters = {"rho": index % 50 / 50, "n": index // 50}
            values = xarray.Dataset({"loss": (("seed", "step"), np.full((20, 100), index, float))})
            work = store.begin(str(index))
            write_results(work / "results.nc", {"training": values})
            (work / "provenance.json").write_text('{"finished": ""}')
            key = digest(parameters)
            identity = {"key": key, "notebook": "", "claims": "", "environment": {}, "modules": {}, "data": {}}
            content = {"status": "finished", "paper": "toy", "preset": "laptop", "parameters": parameters}
            store.finish(work, "toy", key, {"hash": key, "key": key, "identity": identity, **content})
        paths = [str(record.folder / "results.nc") for record in store.records("toy")]
        first = once(lambda: wb.open_runs("toy", store=folder))
        again = once(lambda: wb.open_runs("toy", store=folder))
        by_hand = once(lambda: xarray.concat([_load(path) for path in paths], "run"))
        size = json.dumps({str(name): length for name, length in wb.open_runs("toy", store=folder).sizes.items()})
    note = f"{size}; opened again {again:.2g} s"
    return row("open_runs on 1,000 jobs", first, "xarray.load_dataset, concat", by_hand, note)


def _load(path: str) -> xarray.Dataset:
    return xarray.load_dataset(path, group="training", engine="netcdf4")
