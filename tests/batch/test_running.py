"""`workbench run` makes complete folders, skips finished jobs, and says what is wrong before anything starts."""

from __future__ import annotations

import json

import nbformat
import pytest
import xarray


def test_run_leaves_complete_folders_and_runs_nothing_twice(repository):
    notebook = repository.paper()
    first = repository("run", "toy", "--grid", "rho=0,0.5")
    assert first.returncode == 0 and first.stderr == "", first.stderr + first.stdout
    assert "2/2 jobs" in first.stdout and "2 reproduced" in first.stdout
    folders = sorted(repository.runs.glob("toy/*"))
    assert len(folders) == 2
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {
            "notebook.ipynb",
            "notebook.html",
            "claims.json",
            "results.nc",
            "provenance.json",
            "job.json",
        }
        job = json.loads((folder / "job.json").read_text())
        assert job["status"] == "finished" and job["hash"] == folder.name
        assert "workbench.claims.card" in job["identity"]["modules"]
        assert not any(name.startswith("workbench.batch") for name in job["identity"]["modules"])
        provenance = json.loads((folder / "provenance.json").read_text())
        assert provenance["parameters"] == {
            "n": 8,
            "rho": job["parameters"]["rho"],
            "text": "",
            "seed0": 0,
            "control": "none",
        }
        assert provenance["wall_seconds"] > 0 and provenance["packages"]["numpy"]
        executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
        assert "injected-parameters" in executed.cells[2].metadata.tags
        assert str(repository.root) not in (folder / "notebook.ipynb").read_text()
        with xarray.open_dataset(folder / "results.nc", group="measured") as measured:
            assert measured.sizes == {"sample": 8}

    before = repository.content()
    # Prose does not make a job out of date; a finer grid does not redo the coarse one.
    changed = nbformat.read(notebook, as_version=4)
    changed.cells[0].source = "# Other words"
    nbformat.write(changed, notebook)
    again = repository("run", "toy", "--grid", "rho=0,0.25,0.5")
    assert again.returncode == 0 and "2 of 3 jobs are finished already" in again.stdout
    after = repository.content()
    assert {name: after[name] for name in before} == before and len(after) == 3 * len(before) // 2

    changed.cells[-1].source += "\n1 + 1"
    nbformat.write(changed, notebook)
    why = repository("run", "toy", "-p", "rho=0.5", "--why")
    assert "changed since it finished: code cells of the notebook" in why.stdout and "1 jobs, 1 to run" in why.stdout


def test_every_wrong_parameter_is_named_before_anything_starts(repository):
    repository.paper()
    refused = repository("run", "toy", "--grid", "rho=-1,x", "-p", "n=0", "--zip", "ab=1,2")
    assert refused.returncode == 2 and not refused.stdout and not repository.runs.exists()
    for part in ("rho: -1.0 is too small", "rho: 'x' is a str", "n: 0 is too small", "ab = 1"):
        assert part in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_raising_notebook_is_a_failure_with_traceback_and_the_others_go_on(repository):
    repository.paper(body='if rho == 1: raise RuntimeError("broken <b>here</b>")')
    result = repository("run", "toy", "--grid", "rho=0,1,2")
    assert result.returncode == 1
    assert "raised: RuntimeError: broken <b>here</b>" in result.stdout and "2 reproduced" in result.stdout
    (failed,) = [
        p.parent for p in repository.runs.glob("toy/*/job.json") if json.loads(p.read_text())["status"] == "failed"
    ]
    job = json.loads((failed / "job.json").read_text())
    assert job["error"]["kind"] == "raised" and 'raise RuntimeError("broken' in job["error"]["traceback"]
    assert not (failed / "claims.json").exists()
    assert "broken" in (failed / "notebook.ipynb").read_text()
    status = repository("status")
    assert status.returncode == 0 and "RuntimeError: broken" in status.stdout
    why = repository("run", "toy", "-p", "rho=1", "--why")
    assert "failed before (raised: RuntimeError" in why.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "tpy"], "did you mean 'toy'"),
        (["run", "toy", "--preset", "smoek"], "smoek"),
        (["run", "toy", "-p", "rho"], "write -p name=value"),
        (["run", "toy", "--zip", "rho=1,2", "n=1,2,3"], "equally many values"),
        (["run", "toy", "rho=1,2"], "'rho=1,2' is no paper; values go with -p, --grid or --zip"),
        (["show", "tpy"], "did you mean 'toy'"),
        (["run", "--nonsense"], "No such option"),
    ],
)
def test_wrong_use_is_one_message_and_exit_status_2(repository, words, message):
    repository.paper()
    result = repository(*words)
    assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
