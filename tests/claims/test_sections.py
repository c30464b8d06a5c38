"""Gated sections: a cell that opens with `card.section(...)` is skipped as a whole where nothing in it is measured."""

import pytest

from workbench.claims import CardError, sections
from workbench.claims.card import Card
from workbench.claims.written.schema import CardFile

CONDITION = [{"quantity": "q", "statistic": "mean", "relation": "<", "threshold": 0.0}]
KEYS = {"statement": "s", "source": "T", "origin": "derived", "condition": CONDITION}
CARD = {
    "paper": {"slug": "a-paper", "title": "A paper", "authors": ["A"], "year": 2024},
    "parameters": {
        "rho": {"type": "float", "default": 0.1, "meaning": "radius"},
        "parts": {"type": "list[str]", "default": ["a"], "meaning": "parts"},
    },
    "presets": {"smoke": {}},
    "claim": [
        {"id": "a", "control": [{"name": "off", "set": {"rho": 0.0}}], **KEYS},
        {"id": "b", "presets": ["paper"], **KEYS},
        {"id": "c", "when": {"parts": "c"}, "when_reason": "slow", **KEYS},
    ],
}


@pytest.fixture
def shell(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)
    shell = InteractiveShell.instance()
    sections.install()
    shell.user_ns["card"] = Card(CardFile.model_validate(CARD))
    yield shell
    InteractiveShell.clear_instance()


def ran(shell, first, **parameters):
    shell.user_ns["card"].parameters(**parameters)
    shell.user_ns.pop("x", None)
    result = shell.run_cell(f"{first}\nx = 1\nx + 1")
    assert result.success and result.result == (2 if "x" in shell.user_ns else None)
    return "x" in shell.user_ns


def test_a_cell_runs_where_one_of_its_claims_is_measured(shell):
    assert ran(shell, 'card.section("a")') and not ran(shell, 'card.section("b")')
    assert ran(shell, 'card.section("a", "b")') and ran(shell, "card.section()")
    assert not ran(shell, 'card.section("c")') and ran(shell, 'card.section("c")', parts=["a", "c"])


def test_a_control_runs_only_the_claims_that_name_it_with_what_it_sets(shell):
    assert ran(shell, 'card.section("a")', control="off") and shell.user_ns["card"].parameters(control="off").rho == 0.0
    assert not ran(shell, 'card.section("c")', control="off", parts=["a", "c"])
    assert not ran(shell, "card.section()", control="off")


def test_other_cells_and_wrong_names_are_left_to_run(shell):
    shell.user_ns["card"].parameters()
    assert shell.run_cell("y = 3").success and shell.user_ns["y"] == 3
    result = shell.run_cell('card.section("aa")\nz = 1')
    assert isinstance(result.error_in_exec, CardError) and "did you mean 'a'" in str(result.error_in_exec)


def test_outside_ipython_it_is_a_question():
    card = Card(CardFile.model_validate(CARD))
    card.parameters()
    assert card.section("a") is True and card.section("b") is False
    assert card.check("c", [1.0]).reason == "not run: needs parts = c: slow"
