"""Small made-up papers in a temporary repository, and the command line run on them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nbformat

CARD = """
[paper]
slug = "{slug}"
title = "On {slug}"
authors = ["A. Author"]
year = 2024

[parameters.n]
type = "int"
default = 8
min = 1
meaning = "samples"

[parameters.rho]
type = "float"
default = 0.1
min = 0
meaning = "radius"

[parameters.text]
type = "str"
default = ""
meaning = "anything"

[presets.smoke]
n = 6

[[claim]]
id = "positive"
statement = "The mean is positive"
source = "Theorem 1"
origin = "printed"
paper = 1.0
seeds = "n"

[[claim.control]]
name = "no-radius"
set.rho = 0

[[claim.condition]]
quantity = "mean"
statistic = "mean"
relation = ">"
threshold = 0
"""

PARAMETERS = 'n: int = 8\nrho: float = 0.1\ntext: str = ""'
OPENING = (
    'import numpy as np\nfrom workbench import claims\ncard = claims.card("{slug}")\n'
    "p = card.parameters(globals())\nsamples = np.random.default_rng(0).normal(1 + p.rho, 0.5, p.n)"
)
CHECK = 'card.check("positive", samples)'
SAVE = (
    "import xarray as xr\n"
    'card.save(measured=xr.Dataset({"x": ("sample", samples), "mean": float(samples.mean())}))\ncard.scoreboard()'
)


# What can go wrong in a notebook: the parameter `text` says what, and the folder FAULTS keeps who was started. With
# "... once" only the first attempt goes wrong. Without FAULTS nothing does.
FAULTS = """
import multiprocessing, os, pathlib, signal, time
if "FAULTS" in os.environ:
    folder = pathlib.Path(os.environ["FAULTS"])
    with open(folder / "started", "a") as file:
        file.write(f"{os.getpid()} {multiprocessing.parent_process().pid} {rho}\\n")
    kind, _, when = text.partition(" ")
    again = (folder / str(rho)).exists()
    (folder / str(rho)).touch()
    if when == "once" and again:
        kind = "none"
    if kind == "kill-worker":
        os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        time.sleep(60)
    if kind == "kill-kernel":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "raise":
        raise RuntimeError("injected")
    if kind == "hang":
        time.sleep(600)
    if kind == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(600)
    if kind == "eat":
        hoard = []
        while True:
            hoard.append(b"x" * 20_000_000)
            time.sleep(0.01)
    if kind == "print":
        for _ in range(100):
            print("x" * 1_000_000)
    if kind == "slow":
        time.sleep(0.7)
"""


class Repository:
    """A folder with papers/ and notebooks/, and the command line on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.environment = {
            **os.environ,
            "WORKBENCH_PAPERS": str(root / "papers"),
            # The made-up notebooks need no torch; without it the fork server is up in a second.
            "WORKBENCH_PRELOAD": "numpy,scipy.special,xarray,netCDF4,dask.distributed,pydantic,psutil,pooch,ipykernel.ipkernel,"
            "workbench.batch.running.execute,workbench.batch.running.client,workbench.batch.running.warm",
            "COLUMNS": "200",
        }

    def paper(self, slug: str = "toy", body: str | None = None) -> Path:
        """Make a paper whose notebook has `body` between reading its parameters and its check; returns the notebook."""
        folder = self.root / "papers" / slug
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "paper.toml").write_text(CARD.format(slug=slug))
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
        parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        sources = [OPENING.format(slug=slug), *([body] if body else []), CHECK, SAVE]
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# {slug}"),
            parameters,
            *(nbformat.v4.new_code_cell(source) for source in sources),
        ]
        path = self.root / "notebooks" / f"{slug}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "workbench.cli", *words]

    def __call__(
        self, *words: str, timeout: float = 200, file_limit: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `workbench WORDS...` to its end, if asked with a limit on the size of files that stands for a full disk."""

        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.root,
            env={**self.environment, **environment},
            preexec_fn=limit,
        )

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start `workbench WORDS...`."""
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={**self.environment, **environment},
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # ignored where the tests run in the background
        )

    def records(self) -> list[dict]:
        """Every job.json of the store, by the value of rho."""
        found = [json.loads(path.read_text()) for path in self.runs.glob("[!.]*/*/job.json")]
        return sorted(found, key=lambda record: record["parameters"]["rho"])

    def claims(self) -> dict[str, bytes]:
        """claims.json of every folder of the store, by paper/hash."""
        return {
            f"{p.parent.parent.name}/{p.parent.name}": p.read_bytes() for p in self.runs.glob("[!.]*/*/claims.json")
        }

    def content(self) -> dict[str, bytes]:
        """Every file of the store's job folders."""
        files = (p for p in self.runs.glob("[!.]*/*/*") if p.is_file())
        return {str(p.relative_to(self.runs)): p.read_bytes() for p in files}
