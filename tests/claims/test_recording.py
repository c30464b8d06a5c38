"""What a job's folder holds after its notebook, and that it never holds half a file."""

import json
import math

import numpy as np
import pytest
import xarray

from workbench.claims.arrays import read_results
from workbench.claims.card import Card
from workbench.claims.recording import load, write_atomically
from workbench.claims.written.schema import CardFile

CARD = {
    "paper": {"slug": "a-paper", "title": "A paper", "authors": ["A"], "year": 2024},
    "parameters": {"n": {"type": "int", "default": 20, "meaning": "points"}},
    "claim": [
        {
            "id": name,
            "statement": "s",
            "source": "Fig. 1",
            "origin": "printed",
            "paper": 0.7,
            "condition": [{"quantity": "q", "statistic": "median", "relation": "<", "threshold": 0.0}],
        }
        for name in ("first", "second")
    ],
}
SAMPLES = np.linspace(-2, -1, 20)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path))
    return tmp_path


def a_card():
    return Card(CardFile.model_validate(CARD))


def test_every_claim_is_recorded_after_every_check(job):
    card = a_card()
    card.parameters(n=7)
    card.check("first", SAMPLES)
    content = json.loads((job / "claims.json").read_text(encoding="utf-8"))
    assert (content["paper"], content["preset"], content["parameters"]) == (
        "a-paper",
        "laptop",
        {"n": 7, "seed0": 0, "control": "none"},
    )
    assert [claim["verdict"] for claim in content["claims"]] == ["reproduced", "not run"]
    counts = {name: count for name, count in content["summary"].items() if count}
    assert counts == {"reproduced": 1, "not run": 1}
    first = content["claims"][0]["conditions"][0]
    assert first["estimate"] == -1.5
    assert (first["n"], first["not_finite"], first["verdict"]) == (20, 0, "reproduced")


def test_a_recorded_verdict_loads_back_with_its_type(job):
    card = a_card()
    card.check("first", np.append(SAMPLES, [math.inf, math.nan]))
    for entry in json.loads((job / "claims.json").read_text(encoding="utf-8"))["claims"]:
        back, now = load(entry), card.verdicts[entry["id"]]
        assert repr(back) == repr(now) and back._repr_html_() == now._repr_html_()
        assert (back.claim, back.verdict, back.alone) == (now.claim, now.verdict, now.alone)
        assert back.p == pytest.approx(now.p, rel=1e-11)


def test_numbers_that_are_not_finite_are_strings(job):
    card = a_card()
    card.check("first", np.append(SAMPLES[:3], [math.inf, math.nan]))
    entry = json.loads((job / "claims.json").read_text(encoding="utf-8"))["claims"][0]["conditions"][0]
    assert (entry["low"], entry["high"], entry["not_finite"]) == ("-inf", "inf", 2)


def test_a_rerun_writes_the_same_bytes(job):
    files = []
    for _ in range(2):
        card = a_card()
        card.parameters()
        card.check("second", SAMPLES)
        card.scoreboard()
        files.append((job / "claims.json").read_bytes())
    assert files[0] == files[1]


def test_nothing_is_written_without_a_job(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_JOB", raising=False)
    monkeypatch.chdir(tmp_path)
    card = a_card()
    card.check("first", SAMPLES)
    card.scoreboard()
    card.save(runs=xarray.Dataset())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_job_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="WORKBENCH_JOB"):
        a_card().check("first", SAMPLES)


def test_arrays_survive_with_their_attributes(job):
    card = a_card()
    attributes = {"none": None, "flag": True, "settings": {"rho": 0.1}, "mixed": [1, "a"], "unit": "pp", "grid": [1, 2]}
    runs = xarray.Dataset({"loss": ("seed", [1.0, math.nan])}, coords={"seed": [0, 1]}, attrs=attributes)
    card.save(runs=runs)
    card.save(spectrum=xarray.DataArray([1.0, 2.0], dims="eigenvalue"))
    back = xarray.load_dataset(job / "results.nc", group="runs", engine="netcdf4")
    np.testing.assert_array_equal(back.loss, [1.0, math.nan])
    assert back.attrs["unit"] == "pp"  # what netCDF can hold, other programs see too
    assert read_results((job / "results.nc").read_bytes())["runs"].attrs == attributes
    assert xarray.load_dataset(job / "results.nc", group="spectrum", engine="netcdf4").spectrum.shape == (2,)
    assert runs.attrs["none"] is None  # the caller's data set is left alone


def test_only_labelled_arrays_are_kept(job):
    with pytest.raises(ValueError, match="needs an xarray"):
        a_card().save(runs=np.ones(3))
    assert not (job / "results.nc").exists()


def test_an_interrupted_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "claims.json"
    target.write_text("old")

    def interrupted(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, interrupted)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["claims.json"]
