"""The documentation: the site builds without network and without a broken link, and adding a paper works as printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "adding-a-paper.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.S)


@pytest.mark.slow
def test_adding_a_paper_works_as_printed(tmp_path):
    (tmp_path / "papers").mkdir()
    environment = {**os.environ, "WORKBENCH_PAPERS": str(tmp_path / "papers"), "COLUMNS": "160"}

    def execute(block):
        printed = []
        for line in block.strip().splitlines():
            words = shlex.split(line)
            fails = words[0] == "!"
            words = words[1:] if fails else words
            assert words[0] == "workbench"
            command = [sys.executable, "-m", "workbench.cli", *words[1:]]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
            assert (done.returncode != 0) == fails, done.stdout + done.stderr
            printed.append(done.stdout + done.stderr)
        return printed

    start, again, refused = blocks("bash")
    assert "✔ 1 reproduced" in execute(start)[-1]
    (claim,), (cell,) = blocks("toml"), blocks("python")
    with open(tmp_path / "papers" / "steep-valleys" / "paper.toml", "a", encoding="utf-8") as card:
        card.write(f"\n{claim}")
    path = tmp_path / "notebooks" / "steep-valleys.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(-1, nbformat.v4.new_code_cell(cell))
    nbformat.write(notebook, path)
    assert "✔ 2 reproduced" in execute(again)[-1]
    negative, unknown = execute(refused)
    assert "step_size" in negative and "> 0" in negative
    assert "stepsize" in unknown and "did you mean" in unknown


@pytest.mark.slow
def test_the_site_builds_without_network_and_without_warnings(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        str(tmp_path / "site" / "html"),
    ]
    unreachable = "http://127.0.0.1:9"
    environment = {**os.environ, "http_proxy": unreachable, "https_proxy": unreachable, "all_proxy": unreachable}
    environment["WORKBENCH_STATIC_EXPLORERS"] = "unified-sam"  # all of them take a minute
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site" / "html"
    assert "gradient_descent" in (site / "api" / "optimizers.html").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("[a-z]*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "<img" in page and "claims" in page
        cells = nbformat.read(notebook, as_version=4).cells
        displayed = sum(cell.source.count("$$") // 2 for cell in cells if cell.cell_type == "markdown")
        assert page.count('<div class="math') == displayed, f"{notebook.name}: a blank line is missing around $$"
    gallery = (site / "papers.html").read_text(encoding="utf-8")
    for notebook in (ROOT / "papers").glob("*/paper.toml"):
        if (ROOT / "notebooks" / f"{notebook.parent.name}.ipynb").is_file():
            assert f"_static/papers/{notebook.parent.name}.png" in gallery
