"""Good cards are read; bad ones are refused with file, key and reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.claims import CardError, card, cards, loading
from workbench.claims.written import reach

GOOD = """
[paper]
slug = "a-paper"
title = "A paper"
authors = ["A. Author"]
year = 2024

[parameters.rho]
type = "float"
default = 0.1
min = 0
meaning = "radius"

[parameters.n_seeds]
type = "int"
default = 20
min = 1
meaning = "runs"

[presets.smoke]
n_seeds = 6

[[claim]]
id = "wins"
statement = "It wins"
source = "Fig. 1"
origin = "printed"
paper = 0.7
seeds = "n_seeds"

[[claim.control]]
name = "no-radius"
set = { rho = 0 }

[[claim.condition]]
quantity = "ratio of losses"
statistic = "ratio"
relation = "<"
threshold = 1

[[claim]]
id = "wins-small"
statement = "It wins for small radii"
source = "Fig. 1"
origin = "corrected"
printed = "wins"
presets = ["laptop", "paper"]
seeds = "n_seeds"
control = [{ name = "no-radius", null = true }]

[[claim.condition]]
quantity = "wins"
statistic = "share"
relation = ">="
threshold = 0.8
"""


@pytest.fixture
def papers(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)

    def write(text, slug="a-paper"):
        (tmp_path / slug).mkdir(exist_ok=True)
        (tmp_path / slug / "paper.toml").write_text(text, encoding="utf-8")
        return tmp_path

    write(GOOD)
    return write


def test_a_good_card_has_its_claims_in_order(papers):
    found = card("a-paper")
    assert list(found.claims) == ["wins", "wins-small"]
    assert found.paper.year == 2024
    assert found.claims["wins"].condition[0].threshold == 1.0
    assert list(cards()) == ["a-paper"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("year = 2024", "", ["paper.year", "missing"]),
        ("year = 2024", 'year = "2024"', ["paper.year", "integer"]),
        ("year = 2024", "year = ", ["not valid TOML", "line 6"]),
        ('slug = "a-paper"', 'slug = "b-paper"', ["paper.slug", "folder"]),
        ('title = "A paper"', 'title = "A paper"\ntitel = "x"', ["titel", "unknown key", "'title'"]),
        ('type = "float"', 'type = "flaot"', ["parameters.rho.type", "flaot", "'float'"]),
        ("default = 0.1", "default = -0.1", ["parameters.rho.default", "-0.1", ">= 0"]),
        ("default = 0.1", "", ["parameters.rho", "needs a default"]),
        ("default = 20", "default = 2.5", ["parameters.n_seeds.default", "int"]),
        ("min = 0\n", "min = 0\nminimum = 0\n", ["parameters.rho.minimum", "unknown key"]),
        ("min = 0\n", "min = 0\nmax = -1\n", ["parameters.rho", "no value is allowed"]),
        ("min = 0\n", "min = 0\nexclusive_min = 0\n", ["either min or exclusive_min"]),
        ("min = 0\n", 'min = 0\nchoices = ["a"]\n', ["parameters.rho.choices", "'a'"]),
        ("[parameters.rho]", "[parameters.values]", ["parameters.values", "choose another"]),
        ("n_seeds = 6", "n_seed = 6", ["presets.smoke.n_seed", "no such parameter", "'n_seeds'"]),
        ("n_seeds = 6", "n_seeds = 0", ["presets.smoke.n_seeds", ">= 1"]),
        ("[presets.smoke]", "[presets.smok]", ["presets", "smok", "'smoke'"]),
        ('id = "wins-small"', 'id = "wins"', ["'wins'", "used twice"]),
        ('id = "wins-small"', 'id = "Wins small"', ["claim 2", "small letters"]),
        ('origin = "printed"', 'origin = "print"', ["claim 1 'wins'", "origin", "'printed'"]),
        ('printed = "wins"', 'printed = "win"', ["wins-small", "printed", "'wins'"]),
        ('printed = "wins"', "", ["wins-small", "must name"]),
        ('printed = "wins"', 'printed = "wins-small"', ["not 'printed'"]),
        ("paper = 0.7", 'paper = 0.7\nprinted = "wins"', ["only a claim of origin 'corrected'"]),
        ("threshold = 1\n", "threshold = [0, 1]\n", ["claim 1 'wins', condition 1", "needs one number"]),
        ("threshold = 1\n", "threshold = -1\n", ["a ratio is positive"]),
        ("threshold = 1\n", 'threshold = "1"\n', ["threshold", "finite number"]),
        ("threshold = 1\n", "threshold = nan\n", ["threshold", "finite number"]),
        ("threshold = 1\n", "threshhold = 1\n", ["threshhold", "'threshold'"]),
        ('statistic = "share"', 'statistic = "position"', ["its contrast to the place"]),
        ("threshold = 0.8", "threshold = 19", ["a share lies in [0, 1]"]),
        ("threshold = 0.8", "threshold = 1", ["no number of seeds", "'value'"]),
        ("threshold = 0.8", "threshold = 0.9", ["wins-small", "20 seeds cannot decide", "36 could"]),
        ("default = 20", "default = 4", ["4 seeds cannot decide a ratio < 1", "5 could"]),
        ('seeds = "n_seeds"', 'seeds = "n_sed"', ["seeds", "'n_sed'"]),
        ('[[claim.control]]\nname = "no-radius"\nset = { rho = 0 }\n', "", ["'no-radius'", "sets no parameter"]),
        ("set = { rho = 0 }", "set = { rh = 0 }", ["control 'no-radius'", "'rh'", "'rho'"]),
        ("set = { rho = 0 }", "set = { rho = -1 }", ["control 'no-radius'", "-1", ">= 0"]),
        ("[presets.smoke]", '[[rule]]\nrequires = "rho < n"\nmessage = "m"\n[presets.smoke]', ["rule 1", "'n'"]),
        (
            "[presets.smoke]",
            '[[rule]]\nrequires = "rho > 0"\nmessage = "moves"\n[presets.smoke]',
            ["no-radius", "moves"],
        ),
        ("[presets.smoke]", '[[rule]]\nrequires = "().x"\nmessage = "m"\n[presets.smoke]', ["not allowed"]),
        ('relation = "<"', 'relation = "in"', ["needs [low, high]"]),
        ('relation = "<"', 'relation = "=<"', ["relation", "=<"]),
        ('relation = "<"', 'relation = "=="', ["margin", "equivalence"]),
        ('relation = "<"', 'relation = "<"\nmargin = 0.1', ["margin", "only for '=='"]),
        ('relation = "<"', 'relation = "<"\nstandard_errors = 2', ["standard_errors", "unknown key"]),
        ('relation = "<"', 'relation = "<"\ntolerance = -1', ["tolerance", "greater than or equal to 0"]),
        ('relation = "<"', 'relation = "<"\nends = "()"', ["ends", "'in'"]),
        ('presets = ["laptop", "paper"]', 'presets = ["lapdog"]', ["presets", "lapdog"]),
        ('presets = ["laptop", "paper"]', "presets = []", ["presets", "must not be empty"]),
        ('statement = "It wins"\n', 'statement = ""\n', ["statement", "must not be empty"]),
        ("paper = 0.7", "paper = [0.7]", ["paper", "text or a finite number"]),
    ],
)
def test_a_bad_card_is_refused_with_file_key_and_reason(papers, old, new, words):
    assert GOOD.count(old) >= 1
    papers(GOOD.replace(old, new, 1))
    with pytest.raises(CardError) as refusal:
        card("a-paper")
    text = str(refusal.value)
    assert "paper.toml" in text
    assert [word for word in words if word not in text] == []
    assert "pydantic" not in text
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


def test_conditions_of_a_claim_need_different_names(papers):
    papers(GOOD + '\n[[claim.condition]]\nquantity = "q"\nstatistic = "mean"\nrelation = "<"\nthreshold = 0\n')
    with pytest.raises(CardError, match="names must differ"):
        card("a-paper")


def test_a_card_without_claims_is_refused(papers):
    papers(GOOD.split("[[claim]]")[0])
    with pytest.raises(CardError, match="claim: is missing"):
        card("a-paper")


def test_all_problems_of_a_card_are_reported_at_once(papers):
    papers(GOOD.replace("default = 0.1", "default = -1").replace("n_seeds = 6", "n_sed = 6"))
    with pytest.raises(CardError, match="2 problems"):
        card("a-paper")


def test_a_card_that_is_not_utf8_is_refused(papers):
    folder = papers(GOOD)
    (folder / "a-paper" / "paper.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CardError, match="UTF-8"):
        card("a-paper")


def test_an_unknown_slug_lists_the_known_ones(papers):
    with pytest.raises(CardError, match=r"no paper 'a-papr' \(did you mean 'a-paper'\?\).*Known papers: a-paper"):
        card("a-papr")


def test_cards_are_found_upward_from_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_PAPERS", raising=False)
    (tmp_path / "papers" / "a-paper").mkdir(parents=True)
    (tmp_path / "papers" / "a-paper" / "paper.toml").write_text(GOOD)
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    assert card("a-paper").slug == "a-paper"


def test_claims_do_not_load_torch():
    code = "import sys, workbench.claims; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"


def test_a_draft_without_seeds_or_control_loads_with_a_warning_that_names_them(papers):
    papers(GOOD.replace('seeds = "n_seeds"\n', "", 1))
    with pytest.warns(UserWarning, match=r"draft: claim 'wins': needs seeds"):
        assert card("a-paper").claims["wins"].seeds is None
    lonely = GOOD.replace('[[claim.control]]\nname = "no-radius"\nset = { rho = 0 }\n', "")
    papers(lonely.replace('control = [{ name = "no-radius", null = true }]\n', ""))
    with pytest.warns(UserWarning, match=r"claim 'wins-small': needs a \[\[claim.control"):
        assert not card("a-paper").claims["wins"].control


def test_the_published_cards_lack_nothing(monkeypatch, recwarn):
    monkeypatch.delenv("WORKBENCH_PAPERS", raising=False)
    papers = Path(__file__).parents[2] / "papers"
    for path in sorted(papers.glob("*/paper.toml")):
        assert not list(reach.missing(loading.read(path))), path
