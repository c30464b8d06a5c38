"""Relations between parameters, defaults that follow, unusual types, and the notebook's cell written from the card."""

import json

import nbformat
import pytest

from workbench.claims import ParameterError
from workbench.claims.card import Card
from workbench.claims.parameters import cell, rules
from workbench.claims.written.schema import CardFile

CARD = {
    "paper": {"slug": "a-paper", "title": "A paper", "authors": ["A"], "year": 2024},
    "parameters": {
        "n": {"type": "int", "default": 20, "min": 2, "meaning": "samples"},
        "d": {"type": "int", "default": 30, "min": 2, "meaning": "features"},
        "sizes": {"type": "list[int]", "default": [20, 10, 5], "min": 1, "meaning": "group sizes"},
        "gamma": {"type": "float", "default_from": "10 / d", "exclusive_min": 0, "meaning": "step size", "unit": "1"},
        "rho": {"type": "float | str", "default": "auto", "words": ["auto", "none"], "min": 0, "meaning": "radius"},
        "grid": {"type": "list[list[float]]", "default": [[0.1, 0.2], [0.3]], "min": 0, "meaning": "rows"},
        "net": {
            "type": "record",
            "default": {"width": 8},
            "fields": {
                "width": {"type": "int", "default": 4, "min": 1, "meaning": "units"},
                "kind": {"type": "str", "default": "tanh", "choices": ["tanh", "relu"], "meaning": "activation"},
            },
            "meaning": "network",
        },
    },
    "rule": [
        {"requires": "n < d", "message": "the model must be over-parametrised"},
        {"requires": "all(n % m == 0 for m in sizes)", "message": "each group size must divide n"},
    ],
    "claim": [
        {
            "id": "c",
            "statement": "s",
            "source": "T",
            "origin": "derived",
            "control_none": "a test",
            "condition": [{"quantity": "q", "statistic": "value", "relation": "<", "threshold": 0.0}],
        }
    ],
}


@pytest.fixture
def card(monkeypatch):
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)
    return Card(CardFile.model_validate(CARD))


def test_relations_refuse_in_their_own_words_and_all_at_once(card):
    with pytest.raises(ParameterError) as refusal:
        card.parameters(n=30, sizes=[7])
    assert "over-parametrised (needs n < d)" in str(refusal.value)
    assert "each group size must divide n" in str(refusal.value) and "refused (2)" in str(refusal.value)


def test_a_default_follows_another_parameter_and_an_explicit_value_wins(card):
    assert card.parameters().gamma == pytest.approx(1 / 3)
    assert card.parameters(d=40).gamma == 0.25 and card.parameters(gamma=0.5).gamma == 0.5
    assert card.parameters(card.parameters(d=40).model_dump()).gamma == 0.25


def test_numbers_or_words_lists_of_lists_and_records(card):
    p = card.parameters(rho=1, grid=[[1], [2, 3]], net={"width": 16})
    assert (p.rho, p.grid, p.net) == (1.0, [[1.0], [2.0, 3.0]], {"width": 16, "kind": "tanh"})
    for given, words in (
        ({"rho": "aut"}, ["'aut'", "'auto'"]),
        ({"rho": -1.0}, [">= 0"]),
        ({"grid": [1.0]}, ["not a list", "[1.0]"]),
        ({"sizes": 5}, ["write [5]"]),
        ({"net": {"widht": 3}}, ["'widht'", "'width'"]),
        ({"net": {"width": 0}}, ["field width", "too small"]),
    ):
        with pytest.raises(ParameterError) as refusal:
            card.parameters(**given)
        assert [word for word in words if word not in str(refusal.value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "open('x')",
        "lambda: 1",
        "n.real",
        "[m for m in sizes]",
        "__import__('os')",
        "n <",
        "n < e",
        "f'{n}'",
    ],
)
def test_an_expression_can_only_compare_parameters(text):
    assert rules.problem(text, {"n", "sizes"})


def test_the_cell_is_written_from_the_card_and_a_difference_is_named(card, tmp_path):
    path = tmp_path / "a-paper.ipynb"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("n = 3", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("n")]
    )
    nbformat.write(notebook, path)
    assert "line 1: 'n = 3', but the card says 'n: int = 20" in cell.differs(path, card.parameter_specs)
    assert cell.write(path, card.parameter_specs) and not cell.write(path, card.parameter_specs)
    assert cell.differs(path, card.parameter_specs) == ""
    written = json.loads(path.read_text())["cells"][0]
    assert written["metadata"]["jupyter"]["source_hidden"] and written["outputs"] == []
    names: dict = {}
    exec("".join(written["source"]), names)
    assert card.parameters(names).model_dump() == card.parameters().model_dump()
    lines = "".join(written["source"]).splitlines()
    assert lines[0] == "n: int = 20  # samples (>= 2)" and any(line.startswith("control: str = ") for line in lines)
    assert max(map(len, lines)) <= 120


def test_every_committed_notebook_has_the_cell_of_its_card():
    from workbench import claims
    from workbench.batch import papers

    for slug, one in claims.cards().items():
        notebook = papers.notebook_of(slug)
        if notebook.is_file():
            assert cell.differs(notebook, one.parameter_specs) == ""
