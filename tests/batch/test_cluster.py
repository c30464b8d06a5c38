"""The same jobs over Dask, and the script that SLURM would get."""

from __future__ import annotations

import pytest
from made_up_papers import FAULTS

pytest.importorskip("distributed")


@pytest.mark.slow
def test_dask_workers_run_the_jobs_and_survive_their_deaths(repository, tmp_path):
    repository.paper(body=FAULTS)
    (tmp_path / "faults").mkdir()
    words = [
        "run",
        "toy",
        "--zip",
        "rho=0,1,2",
        "--zip",
        "text=none,kill-worker,none",
        "--scheduler",
        "local",
        "-j",
        "1",
    ]
    result = repository(*words, FAULTS=str(tmp_path / "faults"))
    assert result.returncode == 1, result.stdout + result.stderr
    assert [record["status"] for record in repository.records()] == ["finished", "failed", "finished"]
    assert "killed by SIGKILL" in result.stdout and "Traceback" not in result.stderr


def test_the_slurm_script_has_one_thread_per_worker(repository):
    repository.paper()
    shown = repository("run", "toy", "--scheduler", "slurm", "--memory", "2", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    for line in ("#SBATCH --cpus-per-task=1", "#SBATCH --mem=2G", "export OMP_NUM_THREADS=1", "--nthreads 1"):
        assert line in shown.stdout
    assert not repository.runs.exists()


def test_a_wrong_scheduler_is_one_message(repository):
    repository.paper()
    result = repository("run", "toy", "--scheduler", "nonsense")
    assert result.returncode == 2 and "give 'local', 'slurm' or an address" in result.stderr
