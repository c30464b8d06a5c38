"""What is damaged is noticed when it is read, named with its job and the remedy, and leaves the rest readable."""

from __future__ import annotations

import random
import shutil
import warnings

import pytest
from test_open_runs import losses, put
from typer.testing import CliRunner

import workbench as wb
from workbench.batch.results import cleaning
from workbench.batch.results.store import DamagedError, Store
from workbench.cli.app import app


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    store = Store(tmp_path / "runs")
    for rho in (0.0, 1.0, 2.0):
        put(store, "toy", measured={"training": losses(rho, 1)}, rho=rho)
    return store


def flip(path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def found(store: Store) -> str:
    done = CliRunner().invoke(app, ["verify", "--store", str(store.root)])
    assert done.exit_code == (0 if "0 problems" in done.output else 1)
    return done.output


def test_every_one_of_many_random_bit_flips_is_found(store):
    wb.open_runs("toy", store=store.root)  # so that there is a combined file too
    assert "3 jobs are as they were written, 0 problems" in found(store)
    chance = random.Random(0)
    files = sorted(path for path in store.root.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(60):
        path = chance.choice(files)
        before = path.read_bytes()
        flip(path, chance.randrange(8 * len(before)))
        listed = found(store)
        assert "1 problems" in listed and "workbench clean --yes" in listed and path.parent.name in listed, path
        path.write_bytes(before)
    assert "0 problems" in found(store)


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign", "gone", "empty"])
def test_a_damaged_job_is_named_and_the_others_are_read(store, damage):
    records = list(store.records("toy"))
    bad = records[1].folder / "results.nc"
    if damage == "flip":
        flip(bad, 8 * 5000)
    elif damage == "foreign":
        put(Store(store.root.parent / "other"), "toy", measured={"training": losses(9.0, 1)}, rho=9.0)
        (other,) = (store.root.parent / "other").glob("toy/*/results.nc")
        shutil.copy(other, bad)
    elif damage == "gone":
        bad.unlink()
    else:
        bad.write_bytes(b"" if damage == "empty" else bad.read_bytes()[:-100])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        runs = wb.open_runs("toy", store=store.root)
    assert runs.sizes["rho"] == 2 and records[1].content["parameters"]["rho"] not in runs.rho.values
    same_size = damage in ("flip", "foreign")  # otherwise the folder does not count as a job at all
    assert not same_size or any(
        records[1].folder.name in str(one.message) and "verify" in str(one.message) for one in seen
    )
    assert records[1].folder.name in found(store)
    (item,) = [item for item in cleaning.removable(store) if item.path == records[1].folder]
    assert item.reason.startswith("damaged: ")
    cleaning.remove(item, store)
    assert "2 jobs are as they were written, 0 problems" in found(store)


def test_where_nothing_is_sound_the_reason_is_the_error(store):
    for record in store.records("toy"):
        flip(record.folder / "results.nc", 4000)
    with pytest.raises(ValueError, match=r"(?s)its content has changed.*workbench verify"):
        wb.open_runs("toy", store=store.root)


def test_a_damaged_copy_in_the_cache_is_made_again(store):
    before = wb.open_runs("toy", store=store.root).copy(deep=True)
    for path in sorted((store.root / ".cache").rglob("*")):
        if path.is_file():
            flip(path, 8 * (path.stat().st_size // 2))
            assert before.identical(wb.open_runs("toy", store=store.root).load()), path.name


def test_reading_compares_and_strangers_are_named(store):
    record, *_ = store.records("toy")
    assert record.json("provenance.json") == {"finished": "2024-01-01T00:00:00Z"} and record.damage() == []
    (record.folder / "provenance.json").write_text('{"finished": "2025-01-01T00:00:00Z"}')
    with pytest.raises(DamagedError, match=f"toy/{record.folder.name}/provenance.json: its content has changed"):
        record.json("provenance.json")
    (record.folder / "notes.txt").write_text("mine")
    (store.root / "toy" / "folder").mkdir()
    (store.root / "toy" / "file").touch()
    listed = found(store)
    assert "notes.txt: does not belong to the job" in listed and "toy/file: is no job's folder" in listed
    assert "toy/folder/job.json: is missing" in listed


def test_a_finished_job_with_damaged_claims_runs_again(repository):
    repository.paper()
    assert repository("run", "toy").returncode == 0
    (claims,) = repository.runs.glob("toy/*/claims.json")
    before = claims.read_bytes()
    flip(claims, 8 * (len(before) // 2))
    assert "claims.json: its content has changed" in repository("run", "toy", "--why").stdout
    for words in (["status"], ["report"]):
        shown = repository(*words)
        assert shown.returncode == 0 and "Traceback" not in shown.stderr
    assert "claims.json" in (repository.runs / "report.html").read_text()
    assert repository("run", "toy").returncode == 0 and claims.read_bytes() == before
