"""A notebook's parameters: ranges, types, presets, rules, and every mistake reported at once."""

import numpy as np
import pytest

from workbench.claims import ParameterError
from workbench.claims.card import Card
from workbench.claims.written.schema import CardFile

CARD = {
    "paper": {"slug": "a-paper", "title": "A paper", "authors": ["A"], "year": 2024},
    "parameters": {
        "n": {"type": "int", "default": 20, "min": 2, "max": 100, "meaning": "points"},
        "d": {"type": "int", "default": 30, "min": 2, "meaning": "dimension"},
        "rho": {"type": "float", "default": 0.1, "exclusive_min": 0.0, "meaning": "radius"},
        "rhos": {"type": "list[float]", "default": [0.1, 0.2], "min": 0.0, "min_items": 1, "meaning": "radii"},
        "kind": {"type": "str", "default": "gd", "choices": ["gd", "usam"], "meaning": "rule"},
        "fast": {"type": "bool", "default": False, "meaning": "skip the slow part"},
        "root": {"type": "str", "nullable": True, "meaning": "data folder"},
    },
    "presets": {"smoke": {"n": 6, "rhos": [0.1]}},
    "claim": [
        {
            "id": "c",
            "statement": "s",
            "source": "Fig. 1",
            "origin": "printed",
            "condition": [{"quantity": "q", "statistic": "mean", "relation": "<", "threshold": 0.0}],
        }
    ],
}


@pytest.fixture
def a_card(monkeypatch):
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)
    return Card(CardFile.model_validate(CARD))


def test_defaults_attributes_and_dump(a_card):
    p = a_card.parameters()
    assert (p.n, p["rho"], p.root, p.preset) == (20, 0.1, None, "laptop")
    assert dict(p) == p.model_dump() == {**p}
    assert list(p)[:2] == ["n", "d"]


def test_values_are_converted_to_plain_types(a_card):
    p = a_card.parameters(n=np.int64(7), rho=1, rhos=(0.1, np.float64(0.3)))
    assert [type(value) for value in (p.n, p.rho, p.rhos)] == [int, float, list]
    assert p.rhos == [0.1, 0.3]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 1}, ["n", "1", "too small", ">= 2"]),
        ({"n": 101}, ["101", "too large", "<= 100"]),
        ({"n": 2.0}, ["2.0", "float", "int"]),
        ({"n": True}, ["True", "bool"]),
        ({"rho": 0.0}, ["rho", "0.0", "> 0"]),
        ({"rho": float("nan")}, ["nan", "not finite"]),
        ({"rho": "0.1"}, ["'0.1'", "str"]),
        ({"rho": None}, ["rho", "None"]),
        ({"rhos": 0.1}, ["rhos", "not a list"]),
        ({"rhos": []}, ["rhos", "at least 1"]),
        ({"rhos": [0.1, -0.5]}, ["rhos", "-0.5", "each >= 0"]),
        ({"kind": "usm"}, ["usm", "'usam'"]),
        ({"fast": 1}, ["fast", "bool"]),
        ({"rh": 0.1}, ["rh = 0.1", "no such parameter", "'rho'"]),
    ],
)
def test_a_bad_value_is_refused_with_its_name_value_and_range(a_card, given, words):
    with pytest.raises(ParameterError) as refusal:
        a_card.parameters(**given)
    assert [word for word in words if word not in str(refusal.value)] == []


def test_all_mistakes_are_reported_together(a_card):
    with pytest.raises(ParameterError) as refusal:
        a_card.parameters(n=1, rho=-1.0, kin="gd")
    assert "refused (3)" in str(refusal.value)


def test_an_explicit_value_wins_over_the_preset_even_at_the_default(a_card):
    p = a_card.parameters(preset="smoke", n=20)
    assert (p.n, p.rhos, p.d) == (20, [0.1], 30)


def test_a_notebooks_cell_follows_the_preset_where_it_says_the_default(a_card, monkeypatch, tmp_path):
    cell = {"n": 20, "d": 30, "rho": 0.3, "rhos": [0.1, 0.2], "kind": "gd", "fast": False, "root": None, "other": 1}
    assert a_card.parameters(cell, preset="smoke").model_dump() | {"seed0": 0, "control": "none"} == {
        "n": 6, "d": 30, "rho": 0.3, "rhos": [0.1], "kind": "gd", "fast": False, "root": None, "seed0": 0, "control": "none",
    }  # fmt: skip
    monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path))  # a job says every value
    assert a_card.parameters(cell, preset="smoke").n == 20


def test_the_environment_selects_the_preset_and_the_argument_wins(a_card, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PRESET", "smoke")
    assert a_card.parameters().n == 6
    assert a_card.parameters(preset="laptop").n == 20


@pytest.mark.parametrize("name", ["smok", "paper"])
def test_a_preset_the_card_lacks_is_refused(a_card, name):
    with pytest.raises(ParameterError, match="a-paper has laptop, smoke"):
        a_card.parameters(preset=name)


def test_rules_between_parameters(a_card):
    rule = (lambda p: p.n < p.d, "needs n < d (over-parametrised)")
    assert a_card.parameters(rules=[rule]).n == 20
    with pytest.raises(ParameterError, match="needs n < d"):
        a_card.parameters(n=40, rules=[rule])


def test_parameters_are_read_only_and_say_so(a_card):
    p = a_card.parameters()
    with pytest.raises(AttributeError, match="read-only"):
        p.n = 3
    with pytest.raises(AttributeError, match="did you mean 'rho'"):
        _ = p.rh
    p.model_dump()["rhos"].append(1.0)
    assert p.rhos == [0.1, 0.2]
