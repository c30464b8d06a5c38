"""Real faults: after each the store is consistent, finished jobs are byte-identical, and the same command does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
from made_up_papers import FAULTS, Repository

from workbench.batch.results.store import Store, read_record

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


@pytest.fixture
def faults(tmp_path) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


def started(faults: Path) -> list[tuple[int, int, float]]:
    """(kernel, worker, rho) of every execution so far."""
    lines = (faults / "started").read_text().splitlines() if (faults / "started").exists() else []
    return [(int(kernel), int(worker), float(rho)) for kernel, worker, rho in map(str.split, lines)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def finished(repository: Repository) -> dict[str, bytes]:
    """Every file of the finished jobs' folders."""
    found = {}
    for path in repository.runs.glob("[!.]*/*"):
        record = read_record(path)
        if record is not None and record["status"] == "finished":
            found |= {str(file.relative_to(repository.runs)): file.read_bytes() for file in path.iterdir()}
    return found


def still_there(repository: Repository, seen: dict[str, bytes]) -> dict[str, bytes]:
    """Check that every file seen before is there unchanged; returns all files of finished jobs."""
    now = finished(repository)
    assert {name: now.get(name) for name in seen} == seen
    return now


@pytest.mark.slow
def test_jobs_that_die_eat_memory_or_print_without_end_leave_the_others_alone(repository, faults):
    repository.paper(body=FAULTS)
    kinds = ["kill-worker", "none", "kill-kernel", "eat", "print", "raise"]
    words = ["run", "toy", "--zip", "rho=" + ",".join(map(str, range(len(kinds)))), "--zip", "text=" + ",".join(kinds)]
    result = repository(*words, "-j", "3", "--memory", "0.7", FAULTS=str(faults))
    assert result.returncode == 1, result.stderr + result.stdout
    records = repository.records()
    errors = {kind: record.get("error", {}) for kind, record in zip(kinds, records, strict=True)}
    assert {kind: error.get("kind") for kind, error in errors.items()} == {
        "kill-worker": "killed",
        "none": None,
        "kill-kernel": "killed",
        "eat": "memory",
        "print": None,
        "raise": "raised",
    }
    assert "SIGKILL" in errors["kill-worker"]["message"] and "0.70 GiB" in errors["eat"]["message"]
    for kind, error in errors.items():
        assert (f"text={kind}\n" in result.stdout or f"text={kind}  " in result.stdout) or not error
    for record, kind in zip(records, kinds, strict=True):
        folder = repository.runs / "toy" / record["hash"]
        assert (folder / "notebook.ipynb").exists() and (folder / "notebook.html").exists()
        assert (folder / "claims.json").exists() == (errors[kind] == {})
    printed = repository.runs / "toy" / records[kinds.index("print")]["hash"] / "notebook.ipynb"
    assert printed.stat().st_size < 3_000_000 and "is not kept" in printed.read_text()
    wait_until(lambda: not any(alive(pid) for execution in started(faults) for pid in execution[:2]), 10)

    before = finished(repository)
    again = repository(*words)
    assert again.returncode == 0 and "2 of 6 jobs are finished already" in again.stdout
    after = finished(repository)
    assert {name: after[name] for name in before} == before
    assert [record["status"] for record in repository.records()] == ["finished"] * len(kinds)


@pytest.mark.slow
def test_a_notebook_that_hangs_is_stopped_and_shows_where_it_was(repository, faults):
    repository.paper(body=FAULTS)
    words = ["run", "toy", "--zip", "rho=0,1", "text=hang,deaf", "-j", "2", "--timeout", "9"]
    result = repository(*words, FAULTS=str(faults))
    assert result.returncode == 1, result.stderr + result.stdout
    hanging, deaf = repository.records()
    assert hanging["error"]["kind"] == deaf["error"]["kind"] == "timeout"
    assert "time.sleep(600)" in hanging["error"]["traceback"] and "--timeout" in hanging["error"]["message"]
    wait_until(lambda: not any(alive(pid) for execution in started(faults) for pid in execution[:2]), 10)


@pytest.mark.slow
def test_interrupting_terminating_and_killing_the_program_loses_nothing_finished(repository, faults):
    repository.paper(body=FAULTS)
    words = ["run", "toy", "--grid", "rho=" + ",".join(map(str, range(7))), "-p", "text=slow", "-j", "2"]
    seen: dict[str, bytes] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = len(repository.claims())
        program = repository.start(*words, FAULTS=str(faults))
        wait_until(lambda before=before: len(repository.claims()) > before)
        wait_until(lambda: any(alive(kernel) for kernel, _, _ in started(faults)))
        program.send_signal(number)
        output, errors = program.communicate(timeout=30)
        assert "Traceback" not in errors
        if number == signal.SIGKILL:
            assert program.returncode == -9
        else:
            assert program.returncode == 130 and "the same command does the rest" in output
        wait_until(lambda: not any(alive(pid) for execution in started(faults) for pid in execution[:2]), 10)
        seen = still_there(repository, seen)
        (faults / "started").unlink()
    done = {json.loads(seen[name])["parameters"]["rho"] for name in seen if name.endswith("job.json")}
    last = repository(*words, FAULTS=str(faults))
    assert last.returncode == 0
    still_there(repository, seen)
    assert sorted([*done, *(rho for _, _, rho in started(faults))]) == list(range(7))  # nothing was done twice
    assert not list((repository.runs / ".work").iterdir())


def test_a_full_disk_leaves_nothing_that_looks_finished(repository):
    repository.paper()
    first = repository("run", "toy", "-p", "rho=1")
    assert first.returncode == 0
    before = finished(repository)
    words = ["run", "toy", "--grid", "rho=1,2"]
    full = repository(*words, file_limit=100_000)
    assert full.returncode == 1 and "the disk is full" in full.stdout and "Traceback" not in full.stderr
    assert finished(repository) == before
    fuller = repository(*words, file_limit=3_000)
    assert fuller.returncode == 1 and finished(repository) == before
    again = repository(*words)
    assert again.returncode == 0
    after = finished(repository)
    assert {name: after[name] for name in before} == before and len(repository.claims()) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_small_disk_that_fills_up(repository, tmp_path):
    repository.paper()
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        words = ["run", "toy", "--grid", "rho=1,2", "-j", "1", "--out", str(disk)]
        full = repository(*words)
        assert full.returncode == 1 and "disk is full" in full.stdout, full.stdout + full.stderr
        folders = list(disk.glob("toy/*"))
        assert folders and all(read_record(folder) is not None for folder in folders)
        assert subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], capture_output=True).returncode == 0
        assert repository(*words).returncode == 0
        assert [r.finished for r in Store(disk).records("toy")] == [True] * 2
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_damaged_folders_are_recognised_and_redone_and_only_they(repository):
    repository.paper()
    words = ["run", "toy", "--grid", "rho=0,1,2,3", "-j", "2"]
    assert repository(*words).returncode == 0
    before = finished(repository)
    clean = repository.claims()
    folders = [repository.runs / "toy" / record["hash"] for record in repository.records()]
    os.truncate(folders[0] / "results.nc", 1000)
    os.truncate(folders[1] / "job.json", 100)
    (folders[2] / "claims.json").unlink()
    listed = repository("clean")
    assert listed.stdout.count("damaged") == 3
    again = repository(*words)
    assert again.returncode == 0 and "1 of 4 jobs are finished already" in again.stdout
    assert repository.claims() == clean
    after = finished(repository)
    untouched = {name: content for name, content in before.items() if name.startswith(f"toy/{folders[3].name}/")}
    assert {name: after[name] for name in untouched} == untouched


def test_a_clock_that_jumps_does_not_matter(repository, tmp_path):
    repository.paper()
    site = tmp_path / "site"
    site.mkdir()
    # Every look at the clock in every process is up to a year off, forward or back.
    (site / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, steps = time.time, itertools.cycle([0, 3e7, -3e7, 60, -60])\n"
        "time.time = lambda: real() + next(steps)\n"
    )
    words = ["run", "toy", "--grid", "rho=0,1", "--timeout", "60"]
    assert repository(*words, PYTHONPATH=str(site)).returncode == 0
    before = finished(repository)
    for path in repository.runs.rglob("*"):
        os.utime(path, (4e9, 4e9) if path.is_file() else (0, 0))
    again = repository(*words, PYTHONPATH=str(site))
    assert again.returncode == 0 and "2 of 2 jobs are finished already" in again.stdout
    assert finished(repository) == before and len(before) == 12


def test_two_runs_at_once_share_the_work(repository, faults):
    repository.paper(body=FAULTS)
    words = ["run", "toy", "--grid", "rho=0,1,2,3", "-p", "text=slow", "-j", "1"]
    programs = [repository.start(*words, FAULTS=str(faults)) for _ in range(2)]
    outputs = [program.communicate(timeout=100) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    executions = sorted(rho for _, _, rho in started(faults))
    assert executions == [0, 1, 2, 3]
    assert [record["status"] for record in repository.records()] == ["finished"] * 4
    workers = {worker for _, worker, _ in started(faults)}
    assert len(workers) == 4  # and each in a process of its own


NASTY = [
    "quote \" and '",
    "two\nlines\ttab",
    "Grüße ∇²f 🎉",
    "../../escape",
    "<script>alert(1)</script>",
    "{braces} %s \\n",
    " ",
]


def test_nasty_parameter_values_arrive_unchanged_and_stay_inside(repository, tmp_path):
    repository.paper(body="assert p.text == text")
    sweep = tmp_path / "sweep.toml"
    values = ", ".join(json.dumps(value, ensure_ascii=False) for value in NASTY)
    sweep.write_text(f'[[sweep]]\npaper = "toy"\nparameters = {{ n = 6 }}\ngrid = {{ text = [{values}] }}\n')
    outside = {path for path in tmp_path.rglob("*") if repository.runs not in path.parents}
    result = repository("run", str(sweep))
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(record["parameters"]["text"] for record in repository.records()) == sorted(NASTY)
    new = {path for path in tmp_path.rglob("*") if repository.runs not in path.parents} - outside
    assert new <= {repository.runs}
    for record in repository.records():
        folder = repository.runs / "toy" / record["hash"]
        assert json.loads((folder / "claims.json").read_text())["parameters"]["text"] == record["parameters"]["text"]
        assert "<script>alert(1)" not in (folder / "notebook.html").read_text()
        nbformat.validate(nbformat.read(folder / "notebook.ipynb", as_version=4))
    status = repository("status")
    assert status.returncode == 0


@pytest.mark.slow
def test_a_batch_with_a_fault_every_few_jobs_ends_as_an_undisturbed_one(tmp_path):
    kinds = ["kill-worker once", "raise once", "kill-kernel once", "eat once"]
    texts = [kinds[i // 4 % 4] if i % 4 == 3 else "none" for i in range(24)]
    words = [
        "run",
        "toy",
        "--zip",
        "rho=" + ",".join(map(str, range(24))),
        "--zip",
        "text=" + ",".join(texts),
        "-j",
        "2",
    ]
    stores = []
    for name in ("disturbed", "undisturbed"):
        root = tmp_path / name
        (root / "faults").mkdir(parents=True)
        repository = Repository(root)
        repository.paper(body=FAULTS)
        environment = {"FAULTS": str(root / "faults")} if name == "disturbed" else {}
        result = repository(*words, "--retries", "1", "--memory", "0.7", **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        stores.append(repository.claims())
    assert len(stores[0]) == 24 and stores[0] == stores[1]
