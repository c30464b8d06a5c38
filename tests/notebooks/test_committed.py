"""What every committed notebook must be: executed, small, clean, and about a paper whose card exists."""

import json
import re
from pathlib import Path

import pytest

from workbench import claims
from workbench.claims.court import seals

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAPERS = [path for path in NOTEBOOKS if path.stem in claims.cards()]


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in content(path)["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def text_outputs(cell):
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        yield from ("".join(value) for key, value in output.get("data", {}).items() if key.startswith("text/"))


def test_every_card_has_its_notebook():
    assert {path.stem for path in PAPERS} == set(claims.cards())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_executed_small_and_clean(path):
    assert path.stat().st_size < 1_000_000
    cells = code_cells(path)
    assert all(cell["execution_count"] for cell in cells), "a cell has not been executed"
    counts = [cell["execution_count"] for cell in cells]
    assert counts == sorted(counts), "cells were executed out of order"
    for cell in cells:
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"]
        assert not [output for output in cell["outputs"] if output.get("name") == "stderr"]
        assert "execution" not in cell["metadata"], "time stamps make noise in diffs"
        written_from_the_card = "parameters" in cell["metadata"].get("tags", [])
        assert written_from_the_card or len("".join(cell["source"]).splitlines()) <= 40
        for text in text_outputs(cell):
            assert not re.search(r"(?<![\w<.])/(?:home|work|tmp|root|usr|Users)/", text)
            assert not re.search(r" at 0x[0-9a-f]{6,}", text)
    assert "widgets" not in content(path)["metadata"]
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_picture_has_an_alt_text(path):
    pictures = [
        output for cell in code_cells(path) for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]
    assert pictures, "a notebook without a figure"
    for picture in pictures:
        assert len(picture["metadata"].get("image/png", {}).get("alt", "").split()) >= 8, (
            "end the cell with wb.figures.show"
        )


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_paper_notebook_shows_every_claim_of_its_card(path):
    cells = code_cells(path)
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    checked = [cell for cell, tag in zip(cells, tags, strict=True) if "nbval-check-output" in tag]
    shown = "\n".join(text for cell in checked for text in text_outputs(cell))
    missing = [name for name in claims.card(path.stem).claims if name not in shown]
    assert not missing


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_a_paper_notebook_shows_the_last_audit_in_numbers(path):
    card = claims.card(path.stem)
    cell = next(cell for cell in code_cells(path)[::-1] if "scoreboard()" in "".join(cell["source"]))
    assert seals.audit_line(seals.read(card.folder)) in "\n".join(text_outputs(cell))
