"""From a request to its jobs: every combination once, everything wrong named at once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.batch.grid import Request, RequestError, assignments, parse_value, parse_values, plan, read_sweep
from workbench.batch.jobs import Job, shorten


@pytest.fixture
def papers(repository, monkeypatch):
    repository.paper("toy")
    repository.paper("other")
    monkeypatch.setenv("WORKBENCH_PAPERS", str(repository.root / "papers"))
    return repository


def test_a_grid_is_a_product_and_a_zip_is_a_row(papers):
    jobs = plan([Request(["toy"], fixed={"text": "t"}, grid={"rho": [0, 1], "n": [5, 6]})])
    points = [(job.parameters["rho"], job.parameters["n"]) for job in jobs]
    assert points == list(itertools.product([0.0, 1.0], [5, 6])) and all(job.parameters["text"] == "t" for job in jobs)
    zipped = plan([Request(["toy"], grid={"text": ["a", "b"]}, zipped={"rho": [1, 2], "n": [7, 9]})])
    assert [(j.parameters["text"], j.parameters["rho"], j.parameters["n"]) for j in zipped] == [
        ("a", 1.0, 7),
        ("a", 2.0, 9),
        ("b", 1.0, 7),
        ("b", 2.0, 9),
    ]


def test_the_same_job_asked_for_twice_is_one_job(papers):
    jobs = plan([Request(["toy"], grid={"rho": [0.5, 0.5, 1]}), Request(["toy", "other"], fixed={"rho": 1})])
    assert [(job.paper, job.parameters["rho"]) for job in jobs] == [("toy", 0.5), ("toy", 1.0), ("other", 1.0)]
    assert len({job.key for job in jobs}) == 3


def test_without_papers_all_that_have_a_notebook_are_run(papers):
    (papers.root / "notebooks" / "other.ipynb").unlink()
    assert [job.paper for job in plan([Request()])] == ["toy"]


def test_presets_change_defaults_and_explicit_values_win(papers):
    (smoke,) = plan([Request(["toy"], preset="smoke")])
    (explicit,) = plan([Request(["toy"], preset="smoke", fixed={"n": 30})])
    assert smoke.parameters["n"] == 6 and explicit.parameters["n"] == 30
    (default,) = plan([Request(["toy"], preset="smoke", fixed={"n": 8})])
    assert default.parameters["n"] == 8, "a value that was asked for wins even where it is the card's default"


def test_all_problems_are_listed_at_once(papers):
    requests = [
        Request(["toy", "tpy"], grid={"rho": [-1, 1, "x"]}, fixed={"n": 0, "radius": 3}),
        Request(["other"], fixed={"n": 3}, grid={"n": [1]}),
        Request(["other"], zipped={"n": [1, 2], "rho": [1]}),
        Request(["other"], grid={"n": []}),
    ]
    with pytest.raises(RequestError) as problems:
        plan(requests)
    for part in (
        "rho: -1",
        "'x'",
        "n: 0",
        "radius = 3",
        "tpy",
        "n: given in -p and in --grid",
        "n has 2, rho has 1",
        "no values",
    ):
        assert part in str(problems.value)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1e-3", "float", 1e-3),
        ("-2", "int", -2),
        ("true", "bool", True),
        ("False", "bool", False),
        ("none", "float", None),
        ("[1, 2]", "list[int]", [1, 2]),
        ("a=b,c", "str", "a=b,c"),
        ("12", "str", "12"),
        ("two", "int", "two"),
        (".5", "float", 0.5),
        ("5.", "float", 5.0),
        ("-.5e-3", "float", -0.0005),
        ("05", "float", "05"),
        ("007", "int", "007"),
        ("1_000", "int", "1_000"),
        ("+5", "float", "+5"),
        ("٣", "int", "٣"),
        ("NaN", "float", "NaN"),
        (".", "float", "."),
        ("e5", "float", "e5"),
    ],
)
def test_values_on_the_command_line(text, kind, value):
    assert parse_value(text, kind) == value and type(parse_value(text, kind)) is type(value)


def test_several_values_on_the_command_line():
    assert parse_values("0.02,0.06, 0.2", "float") == [0.02, 0.06, 0.2]
    assert parse_values("sam,gd", "str") == ["sam", "gd"]
    assert parse_values('["a,b", "c"]', "str") == ["a,b", "c"]
    assert parse_values("[[1], [1, 2]]", "list[int]") == [[1], [1, 2]]
    assert parse_values("[1, 2]", "list[int]") == [[1, 2]]


@pytest.mark.parametrize("text", ["a,b,", ",a", "a,,b", "1,2,", " ,1", ","])
def test_an_empty_value_beside_a_comma_is_refused(papers, text):
    for kind in ("str", "float"):
        with pytest.raises(RequestError, match="has an empty value"):
            parse_values(text, kind)
    with pytest.raises(RequestError, match=r"--grid text: .* has an empty value"):
        assignments([f"text={text}"], "--grid", ["toy"], several=True)


def test_one_value_in_two_spellings_is_refused(papers):
    with pytest.raises(RequestError, match=r"rho: 0 and -0.0 are the same value"):
        plan([Request(["toy"], grid={"rho": [0, -0.0]})])
    assert len(plan([Request(["toy"], grid={"rho": [0.1, 0.1]})])) == 1


def test_assignments_say_how_to_write_them(papers):
    with pytest.raises(RequestError, match=r"--grid 'rho': write --grid name=value,value"):
        assignments(["rho"], "--grid", ["toy"], several=True)
    with pytest.raises(RequestError, match="-p n: given twice"):
        assignments(["n=1", "n=2"], "-p", ["toy"], several=False)


def test_a_sweep_file_and_its_mistakes(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'preset = "paper"\n[[sweep]]\npaper = "toy"\ngrid = { rho = [1, 2] }\n'
        '[[sweep]]\npapers = ["a", "b"]\npreset = "smoke"\nzip = { n = [1], rho = [2] }\n'
    )
    first, second = read_sweep(path)
    assert (first.papers, first.preset, first.grid) == (["toy"], "paper", {"rho": [1, 2]})
    assert (second.papers, second.preset, second.zipped) == (["a", "b"], "smoke", {"n": [1], "rho": [2]})
    path.write_text('[[sweep]]\npaper = "toy"\ngird = { rho = [1] }\n[[sweep]]\ngrid = { rho = 1 }\npaper = ["x"]\n')
    with pytest.raises(RequestError) as problems:
        read_sweep(path)
    for part in ("sweep 1: unknown key 'gird'", "sweep 2: grid.rho must be a list", "sweep 2: paper must be a str"):
        assert part in str(problems.value)
    with pytest.raises(RequestError, match=r"missing\.toml"):
        read_sweep(tmp_path / "missing.toml")


@given(
    st.dictionaries(st.text(min_size=1), st.one_of(st.floats(allow_nan=False), st.text(), st.booleans(), st.integers()))
)
def test_a_key_depends_on_values_and_not_on_their_order(parameters):
    def key(values, preset="laptop"):
        return Job("toy", "notebook", "card", preset, values).key  # type: ignore[arg-type]

    assert key(parameters) == key(dict(reversed(parameters.items())))
    assert key(parameters) != key({**parameters, "another": 1}) and key(parameters) != key(parameters, "smoke")
    assert len(key(parameters)) == 12 and set(key(parameters)) <= set("0123456789abcdef")


@given(st.text())
def test_values_are_shown_on_one_line(text):
    shown = shorten(text)
    assert shown.isprintable() and 0 < len(shown) <= 24


def test_relations_of_the_card_are_refused_before_anything_starts(papers):
    path = papers.root / "papers" / "toy" / "paper.toml"
    path.write_text(path.read_text() + '\n[[rule]]\nrequires = "rho < n / 10"\nmessage = "small steps only"\n')
    with pytest.raises(RequestError, match=r"toy: small steps only \(needs rho < n / 10\)"):
        plan([Request(["toy"], grid={"rho": [0.1, 0.9]})])
    assert len(plan([Request(["toy"], grid={"rho": [0.1, 0.7]})])) == 2
