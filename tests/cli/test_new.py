"""New papers and analyses: valid at once, and nothing that exists is touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from workbench import claims
from workbench.cli import new as scaffold


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    return tmp_path


def test_a_new_paper_has_a_valid_card_and_a_valid_notebook(root):
    notebook, card, citation, *_ = scaffold.scaffold_paper(root, "sharp-minima", 'On "sharp" \\minima')
    assert claims.card("sharp-minima").paper.title == 'On "sharp" \\minima' and card.is_file()
    assert "@misc{sharpminima," in citation.read_text()
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert content.cells[1].metadata.tags == ["parameters"]
    for cell in content.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")


def test_the_notebooks_parameters_are_the_cards_defaults(root):
    notebook = scaffold.scaffold_paper(root, "sharp-minima")[0]
    names = {}
    exec(nbformat.read(notebook, as_version=4).cells[1].source, names)
    specs = claims.card("sharp-minima").parameter_specs
    assert {name: names[name] for name in specs} == {name: spec.default for name, spec in specs.items()}


def test_nothing_is_overwritten(root):
    paths = scaffold.scaffold_paper(root, "sharp-minima")
    before = [path.read_bytes() for path in paths]
    with pytest.raises(ValueError, match="exists already"):
        scaffold.scaffold_paper(root, "sharp-minima")
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("slug", ["", "Sharp", "a b", "../up", "a--b", "a/b", "-a"])
def test_odd_names_are_refused_before_anything_is_written(root, slug):
    with pytest.raises(ValueError, match="lower-case words"):
        scaffold.scaffold_paper(root, slug)
    assert list(root.rglob("*.ipynb")) == []


def test_an_analysis_is_a_copy_and_copies_do_not_collide(root):
    original = scaffold.scaffold_paper(root, "sharp-minima")[0]
    first = scaffold.scaffold_analysis(root, source="sharp-minima")
    second = scaffold.scaffold_analysis(root, source="sharp-minima")
    assert [path.relative_to(root).as_posix() for path in (first, second)] == [
        "scratch/sharp-minima.ipynb",
        "scratch/sharp-minima-2.ipynb",
    ]
    assert first.read_bytes() == second.read_bytes() == original.read_bytes()
    with pytest.raises(ValueError, match="exists already"):
        scaffold.scaffold_analysis(root, "sharp-minima-2", "sharp-minima")


def test_an_empty_analysis_imports_the_library(root):
    path = scaffold.scaffold_analysis(root, "my-idea")
    assert any("import workbench as wb" in "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])


def test_a_paper_without_notebook_cannot_be_copied(root):
    notebook = scaffold.scaffold_paper(root, "sharp-minima")[0]
    notebook.unlink()
    with pytest.raises(ValueError, match="no notebook yet"):
        scaffold.scaffold_analysis(root, source="sharp-minima")


@pytest.mark.slow
def test_in_a_clone_room_tests_and_notebook_pass_as_they_are(tmp_path, monkeypatch):
    here = Path(scaffold.__file__).parents[2]
    shutil.copytree(here / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(here / "pyproject.toml", tmp_path)
    (tmp_path / "papers").mkdir()
    monkeypatch.delenv("WORKBENCH_PAPERS", raising=False)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def passes(*command):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shown = passes("workbench.cli", "new", "paper", "steep-valleys", "--title", "Steep valleys")
    assert "workbench/papers/steep_valleys/study.py" in shown and "tests/papers/steep_valleys/test_study.py" in shown
    passes("pytest", "-q", "-p", "no:jaxtyping", "-o", "addopts=", "tests/papers/steep_valleys")
    passes("ruff", "check", "papers", "notebooks", "tests", "workbench/papers/steep_valleys")
    passes("ruff", "format", "--check", "notebooks", "tests", "workbench/papers/steep_valleys")
    assert "1 reproduced" in passes("workbench.cli", "run", "steep-valleys", "--preset", "smoke")
