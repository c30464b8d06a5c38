"""Notebooks by papermill, with and without the forking engine and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

BODY = """
import json, os, sys, threading
import matplotlib.pyplot as plt
figure = plt.plot([1, 2])
plt.show()
print(json.dumps({
    "pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "history": "left_by_the_previous" in globals(),
    "folder": os.getcwd(), "random": np.random.random(), "fresh": "workbench.claims" in sys.modules,
}))
left_by_the_previous = True
"""


def printed(folder: Path) -> dict:
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    (text,) = [o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"]
    assert any("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
    return json.loads(text)


@pytest.mark.parametrize("plain", [False, True])
def test_every_job_is_a_fresh_process_with_one_thread_and_figures(repository, plain):
    repository.paper(body=BODY)
    environment = {"WORKBENCH_PLAIN_KERNELS": "1"} if plain else {}
    result = repository("run", "toy", "--grid", "rho=0,1", "-j", "1", **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    seen = [printed(repository.runs / "toy" / record["hash"]) for record in repository.records()]
    assert seen[0]["pid"] != seen[1]["pid"] and seen[0]["random"] != seen[1]["random"]
    for one in seen:
        assert one["threads"] == "1" and not one["history"] and one["folder"] == str(repository.root / "notebooks")


@pytest.mark.parametrize("engine", [[], ["--engine", "workbench-forked"]])
def test_plain_papermill_needs_no_command_line(repository, tmp_path, engine):
    notebook = repository.paper()
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(out), "-p", "rho", "0.5", "-k", "python3"]
    done = subprocess.run(
        [*command, *engine], capture_output=True, text=True, timeout=100, env=repository.environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "reproduced" in out.read_text() and not list(tmp_path.rglob("claims.json"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_fork_server_has_one_thread_and_ends_with_the_program(repository):
    program = (
        "import sys, time\nfrom workbench.batch.running.forking import process_context\nfrom multiprocessing import forkserver\n"
        "if __name__ == '__main__':\n"
        "    with process_context() as context:\n"
        "        process = context.Process(target=time.sleep, args=(0.1,)); process.start()\n"
        "    process.join()\n"
        "    print(forkserver._forkserver._forkserver_pid, flush=True)\n    sys.stdin.read()\n"
    )
    environment = {**repository.environment, "OMP_NUM_THREADS": "4"}
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert running.stdout is not None
    status = Path(f"/proc/{int(running.stdout.readline())}/status")
    assert "Threads:\t1\n" in status.read_text()
    running.kill()
    running.wait()
    deadline = time.monotonic() + 10
    while status.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not status.exists() and os.name == "posix"
