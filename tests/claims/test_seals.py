"""A claim is sealed by its first verdict: twenty ways of changing it are found, an amendment is shown, nothing else matters."""

import copy
import json

import pytest

from workbench.claims import ParameterError
from workbench.claims.card import Card, cards
from workbench.claims.court import seals
from workbench.claims.written.schema import CardFile

CARD = {
    "paper": {"slug": "a-paper", "title": "A paper", "authors": ["A"], "year": 2024},
    "parameters": {
        "n_seeds": {"type": "int", "default": 20, "min": 5, "meaning": "runs"},
        "rho": {"type": "float", "default": 0.1, "min": 0.0, "meaning": "radius"},
        "width": {"type": "int", "default": 8, "meaning": "chosen", "selected_on": [5000, 5019]},
    },
    "claim": [
        {
            "id": "wins",
            "statement": "It wins",
            "source": "Fig. 1",
            "origin": "printed",
            "seeds": "n_seeds",
            "control": [{"name": "no-radius", "set": {"rho": 0.0}}],
            "condition": [
                {"name": "gain", "quantity": "q", "statistic": "mean", "relation": "<", "threshold": 0.0},
                {"name": "share", "quantity": "q", "statistic": "share", "relation": ">=", "threshold": 0.8},
                {"name": "band", "quantity": "q", "statistic": "ratio", "relation": "in", "threshold": [0.5, 2.0]},
                {"name": "exact", "quantity": "q", "statistic": "value", "relation": "<=", "threshold": 1.0},
            ],
        },
        {
            "id": "scales",
            "statement": "It scales",
            "source": "Fig. 2",
            "origin": "derived",
            "along": "n",
            "range": [4.0, 16.0],
            "control_none": "by construction",
            "condition": [{"quantity": "q", "statistic": "value", "relation": "<", "threshold": 1.0}],
        },
    ],
}

TAMPERED = [
    (("claim", 0, "statement"), "It often wins"),
    (("claim", 0, "require"), "some"),
    (("claim", 0, "seeds"), 200),
    (("parameters", "n_seeds", "default"), 40),
    (("claim", 0, "condition", 0, "threshold"), 0.1),
    (("claim", 0, "condition", 0, "relation"), "<="),
    (("claim", 0, "condition", 0, "statistic"), "median"),
    (("claim", 0, "condition", 0, "quantity"), "another quantity"),
    (("claim", 0, "condition", 0, "shape"), "symmetric"),
    (("claim", 0, "condition", 0, "seeds"), 50),
    (("claim", 0, "condition", 1, "threshold"), 0.7),
    (("claim", 0, "condition", 2, "threshold"), [0.4, 2.0]),
    (("claim", 0, "condition", 2, "ends"), "()"),
    (("claim", 0, "condition", 3, "tolerance"), 0.5),
    (("claim", 0, "condition", 3), None),
    (("claim", 0, "control", 0, "conditions"), ["gain"]),
    (("claim", 1, "range"), [4.0, 8.0]),
    (("claim", 1, "along"), "d"),
    (("claim", 1, "control_none"), "another reason"),
    (("claim", 1), None),
]


def card_of(content):
    return CardFile.model_validate(content)


@pytest.fixture
def court():
    return seals.with_seals(card_of(CARD), {}, {"wins": "reproduced", "scales": "contradicted"}, "2026-01-01")


@pytest.mark.parametrize(("place", "value"), TAMPERED)
def test_every_change_of_a_sealed_claim_is_found(court, place, value):
    content = copy.deepcopy(CARD)
    *above, last = place
    table = content
    for key in above:
        table = table[key]
    if value is None:
        del table[last]
    else:
        table[last] = value
    if last == "shape":
        table["shape_reason"] = "so that it is valid"
    found = seals.broken(card_of(content), court)
    assert list(found) == ["wins" if place[:2] != ("claim", 1) else "scales"]
    again = seals.with_seals(card_of(content), court, {"wins": "reproduced", "scales": "reproduced"}, "2026-02-01")
    assert again["seals"] == court["seals"], "a new verdict does not seal what was changed"


def test_twenty_are_tried():
    assert len(TAMPERED) == 20


def test_what_a_verdict_does_not_rest_on_may_change(court):
    content = copy.deepcopy(CARD)
    content["paper"]["title"] = "Another title"
    content["claim"][0] |= {
        "statement": "It  wins\n",
        "source": "Figure 1",
        "expected": "reproduced",
        "setting": "small",
    }
    content["claim"][0]["condition"][0]["draws"] = "8 inside a seed"
    content["parameters"]["rho"]["meaning"] = "the radius"
    assert seals.broken(card_of(content), court) == {}


def test_an_amendment_is_shown_and_sealed_anew(court, tmp_path):
    content = copy.deepcopy(CARD)
    content["claim"][0]["statement"] = "It often wins"
    content["claim"][0]["amended"] = [{"date": "2026-02-01", "was": "It wins", "why": "one counterexample"}]
    card = card_of(content)
    assert seals.broken(card, court) == {}
    after = seals.with_seals(card, court, {"wins": "reproduced"}, "2026-02-01")
    assert after["seals"]["wins"] != court["seals"]["wins"] and after["seals"]["scales"] == court["seals"]["scales"]
    content["claim"][0]["statement"] = "It nearly always wins"
    assert list(seals.broken(card_of(content), after)) == ["wins"]
    seals.write(tmp_path, after)
    shown = Card(card, tmp_path)
    assert "amended 2026-02-01: was It wins; one counterexample" in repr(shown.verdicts["wins"])
    assert "Amendments: 1." in repr(shown.scoreboard())
    board = Card(card_of(content), tmp_path).scoreboard()
    assert "Changed after their verdict without an amendment: wins." in repr(board)


def test_a_claim_that_was_not_run_is_not_sealed():
    assert list(seals.with_seals(card_of(CARD), {}, {"wins": "not run", "scales": "reproduced"}, "d")["seals"]) == [
        "scales"
    ]


def test_seeds_on_which_something_was_chosen_are_refused():
    card = Card(card_of(CARD))
    assert card.parameters(seed0=4980).seed0 == 4980
    for seed0 in (4981, 5000, 5019):
        with pytest.raises(ParameterError, match="on which width was chosen"):
            card.parameters(seed0=seed0)
    assert card.parameters(seed0=5020).seed0 == 5020


def test_an_audit_is_stale_as_soon_as_a_module_of_its_jobs_changes(monkeypatch, tmp_path):
    modules = ["workbench.claims.judging.family", "workbench.claims.statistics"]
    audit = {
        "modules": modules,
        "modules_hash": seals.modules_hash(modules),
        "blocks": 8,
        "date": "d",
        "agreement": "a",
    }
    audit["claims"] = {
        "wins": {"committed": "reproduced", "blocks": ["reproduced"] * 7 + ["inconclusive"], "controls": {}}
    }
    (tmp_path / seals.FILE).write_text(json.dumps({"audit": audit}))
    card = Card(card_of(CARD), tmp_path)
    assert "7 of 8 blocks" in repr(card.verdicts["wins"]) and "Stale" not in card.audit
    shown = repr(card.scoreboard())
    (tmp_path / seals.FILE).write_text(json.dumps({"audit": {**audit, "modules_hash": "0" * 16}}))
    card = Card(card_of(CARD), tmp_path)
    assert "7 of 8 blocks, stale" in repr(card.with_court(card.verdicts.values())[0]) and "Stale" in card.audit
    assert repr(card.scoreboard()) == shown, "a notebook's outputs are committed and do not change with the code"


def test_no_committed_claim_was_changed_after_its_verdict_and_none_is_a_surprise():
    for slug, card in cards().items():
        court = seals.read(card.folder)
        assert seals.broken(card.content, court) == {}, slug
        recorded = {name: one["committed"] for name, one in court.get("audit", {}).get("claims", {}).items()}
        recorded = {
            name: verdict for name, verdict in recorded.items() if verdict != "not run"
        }  # nobody can be surprised
        surprises = {n: v for n, v in recorded.items() if n in card.claims and card.claims[n].expected not in (None, v)}
        assert surprises == {}, slug
