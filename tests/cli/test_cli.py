"""The command line's reading commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CARD = """
[paper]
slug = "toy"
title = "On <toys>"
authors = ["A. Author"]
year = 2024
question = "Do toys [bold]work[/bold]?"

[parameters.n]
type = "int"
default = 8
meaning = "samples"

[presets.smoke]
n = 6

[[claim]]
id = "positive"
statement = "The mean is positive"
source = "Theorem 1"
origin = "printed"
seeds = "n"
control_none = "a toy"

[[claim.condition]]
quantity = "mean"
statistic = "mean"
relation = ">"
threshold = 0
"""


def workbench(folder: Path, *words: str, card: str = CARD) -> subprocess.CompletedProcess[str]:
    (folder / "papers" / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "papers" / "toy" / "paper.toml").write_text(card)
    environment = {**os.environ, "WORKBENCH_PAPERS": str(folder / "papers"), "COLUMNS": "150"}
    command = [sys.executable, "-m", "workbench.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60)


def test_list_and_show_and_an_empty_status(tmp_path):
    listing = workbench(tmp_path, "list")
    assert listing.returncode == 0 and "On <toys>  (no notebook yet)" in listing.stdout
    shown = workbench(tmp_path, "show", "toy")
    assert shown.returncode == 0
    for part in ("Do toys [bold]work[/bold]?", "smoke", "The mean is positive", "Theorem 1 (printed)"):
        assert part in shown.stdout
    status = workbench(tmp_path, "status")
    assert status.returncode == 0 and "no jobs in" in status.stdout


def test_a_card_with_a_typo_is_refused_with_file_and_key(tmp_path):
    wrong = workbench(tmp_path, "show", "toy", card=CARD.replace("statistic", "statistik"))
    assert wrong.returncode == 2
    assert "paper.toml" in wrong.stderr and "statistik" in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_paper_without_notebook_cannot_run(tmp_path):
    result = workbench(tmp_path, "run", "toy")
    assert result.returncode == 2 and "there is no notebook toy.ipynb" in result.stderr
