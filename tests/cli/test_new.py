"""New papers and analyses: valid at once, and nothing that exists is touched."""

import json

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
    card, citation, notebook = scaffold.scaffold_paper(root, "sharp-minima", 'On "sharp" \\minima')
    assert claims.card("sharp-minima").paper.title == 'On "sharp" \\minima' and card.is_file()
    assert "@misc{sharpminima," in citation.read_text()
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert content.cells[1].metadata.tags == ["parameters"]
    for cell in content.cells:
        if cell.cell_type == "code":
            compile(cell.source, "cell", "exec")


def test_the_notebooks_parameters_are_the_cards_defaults(root):
    notebook = scaffold.scaffold_paper(root, "sharp-minima")[-1]
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
    original = scaffold.scaffold_paper(root, "sharp-minima")[-1]
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
    notebook = scaffold.scaffold_paper(root, "sharp-minima")[-1]
    notebook.unlink()
    with pytest.raises(ValueError, match="no notebook yet"):
        scaffold.scaffold_analysis(root, source="sharp-minima")
