"""What a verdict looks like: stable under rounding noise, readable without colour, safe in a page."""

import re

import numpy as np
import pytest

from workbench.claims.card import Card
from workbench.claims.shown.numbers import exact, plain, rounded
from workbench.claims.shown.rendering import COLOURS, SYMBOLS
from workbench.claims.written.schema import CardFile

STEPS = np.linspace(-1, 1, 20)


def claim(name, statistic="mean", relation="<", threshold=0.0, **more):
    keys = {"statistic": statistic, "relation": relation, "threshold": threshold, "quantity": "q"}
    keys |= {key: more.pop(key) for key in list(more) if key in ("tolerance", "unit")}
    return {
        "id": name,
        "statement": f"about {name}",
        "source": "Fig. 1",
        "origin": "printed",
        "condition": [keys],
        **more,
    }


def a_card(*claims, **more):
    paper = {"slug": "a-paper", "title": "A <b>paper</b>", "authors": ["A"], "year": 2024}
    return Card(CardFile.model_validate({"paper": paper, "claim": list(claims), **more}))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (4.5e-15, -np.inf, 1e-12, "≤ 1e-12"),
        (0.0, -np.inf, 1e-12, "≤ 1e-12"),
        (-3e-13, -1e-12, np.inf, "≥ -1e-12"),
        (3.2e-10, -np.inf, 1e-12, "3e-10"),
        (5e-17, -np.inf, 0.03, "0"),
        (4.2e-10, -np.inf, 1e-5, "< 1e-9"),
        (0.021634, -np.inf, 0.03, "0.0216"),
        (0.99962, -np.inf, 1.0, "0.9996"),
        (1.00076, -np.inf, 1.0, "1.001"),
        (1.0 + 1e-15, -np.inf, 1.0, "1"),
        (2.00003, 2.0 - 1e-6, 2.0 + 1e-6, "2.00003"),
        (np.inf, -np.inf, 1.0, "inf"),
    ],
)
def test_deterministic_numbers(value, low, high, text):
    assert exact(value, low, high) == text


def test_counts_keep_all_their_digits():
    assert exact(0.0, 0.0, 0.0, whole=True) == "0"
    assert exact(20000.0, -np.inf, 1e-12, whole=True) == "20000"


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12300"), (0.00012345, "0.000123"), (1.2345e-7, "1.23e-7"), (1e9, "1e9"), (-0.5, "-0.5"), (0.0, "0")],
)
def test_three_significant_digits(value, text):
    assert rounded(value) == text


@pytest.mark.parametrize("tie", [0.3125, 1.125, 20.25, -0.0625])
def test_a_tie_is_rounded_alike_whatever_its_last_bits(tie):
    assert len({rounded(tie * (1 + wobble)) for wobble in (-3e-14, 0.0, 3e-14)}) == 1


def test_noise_beside_larger_numbers_is_zero():
    assert rounded(3e-17, scale=0.1) == "0"
    assert plain(float("nan")) == "nan"


def test_text_does_not_change_with_the_last_bits():
    rng = np.random.default_rng(0)
    card = a_card(claim("m"), claim("v", "value", "<=", 1e-12), claim("r", "ratio", "<", 1.0), claim("d", "median"))
    base = {"m": STEPS - 3.21, "v": np.full(9, 3e-15), "r": np.exp(STEPS - 2), "d": STEPS - 5}
    first = {name: repr(card.check(name, samples)) for name, samples in base.items()}
    board = repr(card.scoreboard())
    for _ in range(20):
        for name, samples in base.items():
            wobble = 1 + 1e-13 * rng.standard_normal(samples.shape)
            verdict = card.check(name, samples * wobble if name != "v" else samples * rng.uniform(0.1, 30))
            assert repr(verdict) == first[name]
        assert repr(card.scoreboard()) == board


def test_a_verdict_reads_as_one_block():
    card = a_card(claim("gain", threshold=0.0, unit="pp", paper="-0.7"))
    assert repr(card.check("gain", 0.1 * STEPS - 0.24)).splitlines() == [
        "✔ reproduced: gain",
        "  claim   about gain (Fig. 1; printed)",
        "  paper   -0.7",
        "  ours    q: mean -0.24 [-0.269, -0.211] pp (95 %, n = 20); claimed < 0 pp",
    ]


@pytest.mark.parametrize(
    ("samples", "word"),
    [(STEPS - 5, "reproduced"), (STEPS + 5, "contradicted"), (STEPS, "inconclusive"), (None, "not run")],
)
def test_each_verdict_has_symbol_word_and_colour(samples, word):
    verdict = a_card(claim("c")).check("c", samples)
    assert verdict.verdict == word
    assert repr(verdict).startswith(f"{SYMBOLS[word]} {word}")
    assert all(part in verdict._repr_html_() for part in (SYMBOLS[word], word, COLOURS[word]))


def test_colours_read_on_white_and_on_dark_pages():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in COLOURS.values():
        assert 1.05 / (luminance(colour) + 0.05) >= 3  # on white
        assert (luminance(colour) + 0.05) / (luminance("#111111") + 0.05) >= 3


def test_html_escapes_the_card():
    nasty = claim("c", unit="<i>", paper="<script>alert(1)</script>") | {"statement": "a < b & <img src=x>"}
    card = a_card(nasty)
    for page in (card.check("c", STEPS)._repr_html_(), card.scoreboard()._repr_html_()):
        assert not re.search(r"<(script|img|i|b>paper)", page)
        assert "&lt;script&gt;" in page


def test_the_scoreboard_shows_a_correction_beside_what_it_corrects():
    corrected = claim("fixed") | {"origin": "corrected", "printed": "first"}
    card = a_card(claim("first"), claim("second"), corrected)
    board = card.scoreboard()
    assert [verdict.id for verdict in board.verdicts] == ["first", "fixed", "second"]
    assert "↳ fixed" in repr(board) and "↳ fixed" in board._repr_html_()


def test_badges_show_the_verdict_after_the_family():
    # Alone c1 (p near .02) is reproduced; among ten the ladder keeps only the claims far from the threshold.
    names = [f"c{index}" for index in range(10)]
    card = a_card(*(claim(name) for name in names), claim("exact", "value", "<=", 1.0))
    card.check("c0", STEPS - 5)
    assert card.check("c1", STEPS - 0.3).verdict == "inconclusive"
    for name in names[2:9]:
        card.check(name, STEPS)
    card.check("exact", 0.5)
    board = card.scoreboard()
    assert {name: count for name, count in board.counts.items() if count} == {
        "reproduced": 2,
        "inconclusive": 8,
        "not run": 1,
    }
    assert "? inconclusive (alone: reproduced): c1" in repr(card.verdicts["c1"])
    assert "Family of 10 claims over seeds" in repr(board) and "undecided only because of it: c1" in repr(board)
    assert "Exact statements, which no seed can change: 1 reproduced" in repr(board)


def test_what_no_control_can_flip_is_consistent_and_outside_the_family():
    card = a_card(claim("c", control_none="by construction"), claim("d"))
    assert card.check("c", STEPS - 5).verdict == "consistent, not tested"
    assert card.check("c", STEPS + 5).verdict == "contradicted"
    assert card.check("d", STEPS - 5).family == 1


def test_tex_is_rendered_in_pages_and_plain_in_terminals():
    card = a_card(claim("c") | {"statement": r"$\rho^2 \le 1/\lambda_{\max}$ & <b>"})
    verdict = card.check("c", STEPS)
    assert "ρ^2 ≤ 1/λ_max & <b>" in repr(verdict)
    assert "ρ<sup>2</sup> ≤ 1/λ<sub>max</sub> &amp; &lt;b&gt;" in verdict._repr_html_()
    card = a_card(
        claim("c") | {"statement": r"$A^\top\otimes\rho$ has rank $\lceil\tau\rceil$ or $\lfloor\tau\rfloor$"}
    )
    assert "A^⊤⊗ρ has rank ⌈τ⌉ or ⌊τ⌋" in repr(card.check("c", STEPS))


def test_several_conditions_each_show_their_own_verdict():
    two = claim("c") | {
        "condition": [
            {"name": "gain", "quantity": "gain", "statistic": "mean", "relation": "<", "threshold": 0.0},
            {"name": "wins", "quantity": "wins", "statistic": "share", "relation": ">=", "threshold": 0.95},
        ]
    }
    card = a_card(two)
    verdict = card.check("c", {"gain": STEPS - 5, "wins": np.arange(20) < 10})
    assert verdict.verdict == "contradicted"
    assert "✔ gain" in repr(verdict) and "✘ wins: 10 of 20 seeds [0.272, 0.728]" in repr(verdict)
    with pytest.raises(ValueError, match=r"'wins' is missing"):
        card.check("c", {"gain": STEPS})
    with pytest.raises(ValueError, match="pass a dict with gain, wins"):
        card.check("c", STEPS)


def test_an_unknown_claim_is_refused_with_a_hint():
    with pytest.raises(ValueError, match=r"no claim 'gian' \(did you mean 'gain'\?\)"):
        a_card(claim("gain")).check("gian", STEPS)


def test_a_claim_outside_the_preset_is_not_run():
    card = a_card(claim("c", presets=["paper"]))
    assert not card.wants("c")
    verdict = card.check("c", STEPS - 5)
    assert (verdict.verdict, verdict.reason) == ("not run", "not run: needs preset paper")


def test_an_exact_zero_outside_its_region_is_shown_as_zero():
    from workbench.claims.shown.numbers import exact

    assert exact(0.0, 1e-9, float("inf")) == "0"
