"""The store's folders are complete or not there, whatever stops the writer."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from workbench.batch.grid import Request, plan
from workbench.batch.jobs import Sources, claims_hash, code_hash, digest
from workbench.batch.plan import decide
from workbench.batch.results import cleaning
from workbench.batch.results.store import Store, read_record, standing, write_json, write_record
from workbench.batch.running.execute import Options, record_death
from workbench.batch.watching.inputs import Used, content_hash


@pytest.fixture
def jobs(repository, monkeypatch):
    repository.paper()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(repository.root / "papers"))
    monkeypatch.setenv("WORKBENCH_DATA", str(repository.root / "data"))
    return plan([Request(["toy"], grid={"rho": [0, 1, 2]})])


def finish(store, job, *, status="finished", modules=("workbench.claims.card",), files=(), text="claims", **extra):
    """A job's record without running it; returns its folder."""
    folder = store.begin(job.key)
    (folder / "claims.json").write_text(text)
    identity = Sources().identity(job, Used(tuple(modules), tuple(files)))
    name = digest(identity) if status == "finished" else job.key
    content = {
        "hash": name,
        "status": status,
        "paper": job.paper,
        "preset": job.preset,
        "parameters": job.parameters,
        "key": job.key,
        "identity": identity,
        **extra,
    }
    return store.finish(folder, job.paper, name, content)


def test_a_record_is_complete_or_none(repository, jobs):
    store = Store(repository.runs)
    place = finish(store, jobs[0])
    assert read_record(place)["files"]["claims.json"][0] == 6
    assert [record.folder for record in store.records()] == [place] and not list((store.root / ".work").iterdir())
    for damage in (
        lambda: (place / "claims.json").write_text("clai"),
        lambda: (place / "claims.json").unlink(),
        lambda: (place / "job.json").write_text((place / "job.json").read_text()[:-9]),
        lambda: (place / "job.json").write_text("[]"),
        lambda: (place / "job.json").unlink(),
    ):
        shutil.rmtree(place)
        assert finish(store, jobs[0]) == place and read_record(place) is not None
        damage()
        assert read_record(place) is None and list(store.records()) == []


def test_a_result_stands_until_something_it_used_changes(repository, jobs, monkeypatch):
    store, job = Store(repository.runs), jobs[0]
    (repository.root / "data" / "digits").mkdir(parents=True)
    (repository.root / "data" / "digits" / "images").write_bytes(b"0123")
    finish(store, job, files=["data:digits/images"])
    (record,) = store.records("toy")
    assert standing(job, [record], Sources()) is record

    def changes(**attributes):
        sources = Sources()
        for name, value in attributes.items():
            setattr(sources, name, value)
        assert (standing(job, [record], sources) is None) == bool(sources.changes(job, record.content))
        return sources.changes(job, record.content)

    modules = Sources().modules
    assert changes(modules={**modules, "workbench.problems": "other"}) == []  # a module that the job did not import
    assert changes(modules={**modules, "workbench.claims.card": "other"}) == ["module workbench.claims.card"]
    assert changes(modules={}) == ["module workbench.claims.card (gone)"]
    versions = {**Sources().environment, "numpy": "0.1"}
    assert len(changes(environment=versions)) == 1 and "-> 0.1" in changes(environment=versions)[0]
    (repository.root / "data" / "digits" / "images").write_bytes(b"0124")
    assert changes() == ["file data:digits/images"]
    (repository.root / "data" / "digits" / "images").write_bytes(b"0123")
    card = repository.root / "papers" / "toy" / "paper.toml"
    text = card.read_text()
    card.write_text(text.replace("A. Author", "B. Author"))
    assert changes() == []
    card.write_text(text.replace("threshold = 0", "threshold = 1"))
    assert changes() == ["claims in the card"]
    assert not any(name.startswith("workbench.batch") for name in modules)


def test_hashes_see_code_and_not_prose(repository, jobs):
    notebook = jobs[0].notebook
    content = json.loads(notebook.read_text())
    before = code_hash(notebook)
    content["cells"][0]["source"] = ["other prose"]
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]
    content["cells"][2]["execution_count"] = 7
    content["metadata"]["kernelspec"] = {"name": "other"}
    notebook.write_text(json.dumps(content))
    assert code_hash(notebook) == before
    content["cells"][2]["source"] = "1 + 1"
    notebook.write_text(json.dumps(content))
    assert code_hash(notebook) != before
    assert claims_hash(jobs[0].card) == claims_hash(jobs[1].card)


def test_hashes_see_every_byte_of_a_file_and_the_names_of_a_folder(tmp_path, monkeypatch):
    path = tmp_path / "a"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    hashes = {content_hash(str(path))}
    times = os.stat(path)
    content[1_700_000] = 1  # in the middle, with size and time of change as before
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    hashes.add(content_hash(str(path)))
    assert content_hash(str(path)) in hashes and len(hashes) == 2
    listing, files = content_hash(f"{tmp_path}/"), content_hash(f"{tmp_path}/*")
    path.write_bytes(b"0")
    assert content_hash(f"{tmp_path}/") == listing and content_hash(f"{tmp_path}/*") != files
    (tmp_path / "b").write_bytes(b"")
    assert content_hash(f"{tmp_path}/") != listing
    assert content_hash(str(tmp_path / "c")) == content_hash(str(tmp_path)) == ""


def test_a_kill_between_the_two_renames_of_a_replacement_is_mended(repository, jobs):
    store = Store(repository.runs)
    place = finish(store, jobs[0], text="old")
    aside = place.with_name(f".{place.name}.old")
    os.rename(place, aside)  # as a killed replacement leaves it
    assert list(store.records()) == []
    store.recover("toy")
    assert (place / "claims.json").read_text() == "old" and not aside.exists()
    assert finish(store, jobs[0], text="new") == place and (place / "claims.json").read_text() == "new"
    assert not aside.exists()


def test_json_is_replaced_at_once_and_a_failed_write_leaves_the_old(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_lock_is_held_by_a_process_and_free_after_it(repository, jobs):
    store = Store(repository.runs)
    assert not store.busy("k")
    with store.lock("k"):
        assert store.busy("k")
    assert not store.busy("k") and (repository.runs / ".locks" / "k").exists()


def test_reasons_for_running(repository, jobs):
    store = Store(repository.runs)
    finish(store, jobs[0])
    finish(store, jobs[1], status="failed", error={"kind": "raised", "message": "E: e\nmore"})
    store.begin(jobs[2].key)
    found = list(decide(jobs, store))
    assert found[0][1] is not None
    assert found[1][1] is None and found[1][2] == "failed before (raised: E: e)"
    assert found[2][1] is None and found[2][2] == "never finished"
    with store.lock(jobs[2].key):
        assert list(decide(jobs, store))[2][2] == "another run is doing it now"
    (forced, *_) = decide(jobs, store, force=True)
    assert forced[1] is None and forced[2] == "asked for by --force"


def test_clean_lists_what_can_go_and_keeps_what_is_the_only_result(repository, jobs):
    store = Store(repository.runs)
    kept = finish(store, jobs[0])
    superseded = finish(store, jobs[0], modules=["workbench.claims.gone"])
    content = json.loads((superseded / "job.json").read_text())
    content["identity"]["modules"] = {"workbench.claims.gone": "before"}
    write_record(superseded / "job.json", content)
    only = finish(store, jobs[1])
    content = json.loads((only / "job.json").read_text())
    content["identity"]["environment"] = {"numpy": "0.1"}
    write_record(only / "job.json", content)
    damaged = finish(store, jobs[2])
    (damaged / "claims.json").unlink()
    record_death(jobs[2], Options(str(store.root)), {"kind": "killed", "message": "x"})
    failed = store.root / "toy" / jobs[2].key
    (store.root / ".work" / "leftover").mkdir(parents=True)
    items = {item.path: item.reason for item in cleaning.removable(store)}
    assert set(items) == {superseded, damaged, failed, store.root / ".work" / "leftover"}
    assert items[superseded].startswith("superseded") and items[failed] == "failed"
    for item in list(cleaning.removable(store)):
        cleaning.remove(item, store)
    assert {record.folder for record in store.records()} == {kept, only} and not list(cleaning.removable(store))
