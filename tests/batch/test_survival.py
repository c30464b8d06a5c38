"""What must not end a batch: its output, deep folders, the death of the fork server, what a job leaves behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from made_up_papers import FAULTS
from test_faults import alive, started, wait_until

from workbench.batch.jobs import Job
from workbench.batch.results.store import Store
from workbench.batch.running.execute import Options, Outcome
from workbench.batch.running.schedule import Listener, run_jobs
from workbench.cli.printing import Sturdy

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_printing_drops_what_a_stream_cannot_take():
    for encoding, expected in (("ascii", b"+ a o ?...\n"), ("cp1252", "+ a o ?…\n".encode("cp1252"))):
        raw = io.BytesIO()
        stream = Sturdy(io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
        print("✔ a ○ ∇…", file=stream)
        stream.flush()
        assert raw.getvalue() == expected
    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed):
        print("x", file=Sturdy(stream), flush=True)
    assert Sturdy(io.StringIO()).isatty() is False


def test_a_display_that_fails_is_told_no_more_and_ends_nothing(tmp_path):
    from concurrent.futures import Future

    class Broken(Listener):
        calls = 0

        def tick(self) -> None:
            Broken.calls += 1
            raise UnicodeEncodeError("ascii", "✔", 0, 1, "no")

        done = submitted = lambda self, *words: self.tick()

    def submit(job: Job, options: Options) -> Future:
        future: Future = Future()
        future.set_result(Outcome(job.key, "finished"))
        return future

    jobs = [Job("toy", tmp_path, tmp_path, "laptop", {"rho": i}) for i in range(3)]
    result = run_jobs(jobs, Options("x"), submit, Broken())
    assert result.count("finished") == 3 and Broken.calls == 1


def test_the_program_prints_to_anything_and_works_below_a_deep_folder(repository, tmp_path):
    repository.paper()
    deep = tmp_path / ("t" * 90)
    deep.mkdir()
    plain = repository("run", "toy", "-p", "rho=1", PYTHONIOENCODING="ascii", TMPDIR=str(deep), COLUMNS="7")
    assert plain.returncode == 0 and plain.stdout.isascii() and "+ " in plain.stdout, plain.stderr
    command = " ".join([*map(str, repository.command("run", "toy", "--grid", "rho=2,3"))])
    for ending in ("| true", ">/dev/full", ">&-"):
        done = subprocess.run(
            ["bash", "-c", f"{command} {ending}"],
            cwd=repository.root,
            env=repository.environment,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
        wait_until(lambda: len(repository.records()) == 3)
    assert {record["status"] for record in repository.records()} == {"finished"}


def words_of(process):
    """Its command line; empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_fork_server_that_dies_is_replaced_and_every_job_finishes_once(repository, tmp_path):
    repository.paper(body=FAULTS)
    faults = tmp_path / "faults"
    faults.mkdir()
    words = ["run", "toy", "--grid", "rho=0,1,2,3,4", "-p", "text=slow", "-j", "2"]
    program = repository.start(*words, FAULTS=str(faults))
    for done in (0, 1):
        wait_until(lambda done=done: len(repository.claims()) > done or (done == 0 and started(faults)))
        for child in psutil.Process(program.pid).children():
            if "forkserver" in words_of(child):
                child.kill()
    output, errors = program.communicate(timeout=120)
    assert program.returncode == 0 and not errors, output + errors
    assert [record["status"] for record in repository.records()] == ["finished"] * 5
    wait_until(lambda: not any(alive(pid) for execution in started(faults) for pid in execution[:2]), 10)


LEAVE = """
import os, subprocess, sys, time
kept = os.environ["KEPT"]
for how in ("session", "shell"):
    if how == "session":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    else:
        child = subprocess.Popen("setsid sleep 300 & echo", shell=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    open(kept, "a").write(f"{os.getpid()}\\n")
    time.sleep(300)
    os._exit(0)
open(kept, "a").write(f"{child.pid}\\n")
os.write(2, b"x" * 5_000_000)
time.sleep(0.5)
if rho == 1:
    raise RuntimeError("later")
if rho == 2:
    os.kill(os.getpid(), 9)
if rho == 3:
    time.sleep(100)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_of_a_job_outlives_it_and_its_log_is_bounded(repository, tmp_path):
    repository.paper(body=LEAVE)
    result = repository("run", "toy", "--grid", "rho=0,1,2,3", "--timeout", "8", "-j", "2", KEPT=str(tmp_path / "kept"))
    statuses = [record.get("error", {}).get("kind") for record in repository.records()]
    assert statuses == [None, "raised", "killed", "timeout"], result.stdout + result.stderr
    pids = [int(line) for line in (tmp_path / "kept").read_text().split()]
    assert len(pids) == 8
    mark = str(repository.runs).encode()

    def left() -> list[int]:
        found = [pid for pid in pids if alive(pid)]
        for process in psutil.process_iter():
            try:
                found += [process.pid] if mark in str(process.environ().get("WORKBENCH_JOB", "")).encode() else []
            except psutil.Error:
                continue
        return found

    wait_until(lambda: not left(), 10)
    for log in repository.runs.glob("toy/*/stderr.txt"):
        assert log.stat().st_size < 1_100_000 and "is not kept" in log.read_text(errors="replace")[-100:]


def test_ctrl_c_while_the_workers_start_is_heard_at_once(repository):
    repository.paper()
    (repository.root / "slow_import.py").write_text("import time\ntime.sleep(60)\n")
    path = os.pathsep.join([str(repository.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = repository.start("run", "toy", PYTHONPATH=path, WORKBENCH_PRELOAD="slow_import")
    wait_until(lambda: any("forkserver" in words_of(child) for child in psutil.Process(program.pid).children()))
    asked = time.monotonic()
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=30)
    assert program.returncode == 130 and "Interrupted" in output and "Traceback" not in errors
    assert time.monotonic() - asked < 15  # the import alone takes a minute


def test_a_store_that_cannot_be_written_to_is_said_before_anything_starts(repository, tmp_path):
    repository.paper()
    (tmp_path / "file").touch()
    refused = repository("run", "toy", "--store", str(tmp_path / "file" / "runs"))
    assert refused.returncode == 2 and "cannot be written to" in refused.stderr and "--store" in refused.stderr
    with pytest.raises(ValueError, match="cannot be written to"):
        Store("/proc/runs").require_writable()
