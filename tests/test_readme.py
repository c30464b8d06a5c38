"""The README's examples run as they are printed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PYTHON = [block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S) if "open_runs" not in block]


@pytest.mark.parametrize("block", PYTHON, ids=[block.strip().splitlines()[-1][:40] for block in PYTHON])
def test_python_examples(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(plt, "show", lambda: None)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    plt.close("all")
    assert "wb" in names


@pytest.mark.slow
def test_the_batch_journey(tmp_path, monkeypatch):
    batch = next(block for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S) if "--grid" in block)
    shutil.copytree(ROOT / "papers" / "eigenvalue-filtering", tmp_path / "papers" / "eigenvalue-filtering")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "eigenvalue-filtering.ipynb", tmp_path / "notebooks")
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    printed = {}
    for line in batch.strip().splitlines():
        words = shlex.split(line)
        assert words[0] == ".venv/bin/workbench"
        done = subprocess.run(
            [sys.executable, "-m", "workbench.cli", *words[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        printed[words[1]] = done.stdout
    assert "eigenvalue-filtering" in printed["list"] and (tmp_path / "runs" / "report.html").is_file()
    opened = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S) if "open_runs" in block)
    done = subprocess.run([sys.executable, "-c", opened], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rho" in done.stdout
