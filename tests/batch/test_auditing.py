"""An audit: which jobs it needs, what it counts, and that it is written beside the card."""

import hashlib
import json

import numpy as np
import pytest
from made_up_papers import Repository

from workbench import claims
from workbench.batch import audit_table, auditing
from workbench.batch.results.store import Record
from workbench.claims.court import seals
from workbench.claims.recording import as_json, record
from workbench.claims.verdict import Verdict, badges, verdict_of


@pytest.fixture
def toy(tmp_path, monkeypatch):
    Repository(tmp_path).paper()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    monkeypatch.delenv("WORKBENCH_PRESET", raising=False)
    return claims.card("toy")


def job_record(folder, card, samples, **parameters):
    folder.mkdir()
    verdicts = {
        name: verdict_of(claim, {"value": samples}) if samples is not None else Verdict(claim)
        for name, claim in card.claims.items()
    }
    entries = [record(one) for one in badges(verdicts, len(verdicts)).values()]
    text = json.dumps(as_json({"claims": entries}))
    (folder / "claims.json").write_text(text)
    files = {"claims.json": [len(text), hashlib.sha256(text.encode()).hexdigest()]}
    return Record(
        folder,
        {"files": files, "identity": {"modules": {"workbench.claims.judging.family": "x"}}, "parameters": parameters},
    )


def test_blocks_and_controls_are_ordinary_jobs(toy):
    audit = auditing.audit_of("toy", 3, True)
    assert [job.parameters["seed0"] for job in audit.blocks] == [100_000, 110_000, 120_000]
    assert audit.controls["no-radius"].parameters["rho"] == 0 and audit.committed.parameters["control"] == "none"
    assert len({job.key for job in audit.jobs}) == 5
    assert auditing.audit_of("toy", 0, False).jobs == [audit.committed]


def test_agreement_and_flips_are_counted_and_kept(toy, tmp_path):
    rng, audit = np.random.default_rng(0), auditing.audit_of("toy", 3, True)
    good = [job_record(tmp_path / f"b{k}", toy, 1 + 0.5 * rng.standard_normal(12)) for k in range(3)]
    one_off = job_record(tmp_path / "off", toy, rng.standard_normal(12))
    zero = job_record(tmp_path / "zero", toy, np.zeros(12))
    (row,) = auditing.rows(toy, good[0], [good[1], good[2], one_off], {"no-radius": zero})
    assert (row.committed, row.agreeing, row.random, row.unflipped) == ("reproduced", 2, True, False)
    assert row.controls["no-radius"] == {"verdict": "contradicted", "flipped": True, "identical": True}
    assert "2 of 3 verdicts of random rows agree (66.7%)" in auditing.summary([row])
    (row,) = auditing.rows(toy, good[0], [], {"no-radius": good[1]})
    assert row.unflipped and "controls flip 0 of 1 reproduced claims (not: positive)" in auditing.summary([row])
    auditing.record(toy, audit, [row], good[0])
    court = seals.read(toy.folder)
    assert court["audit"]["claims"]["positive"]["controls"]["no-radius"]["flipped"] is False
    assert court["audit"]["modules_hash"] == seals.modules_hash(["workbench.claims.judging.family"])
    assert list(court["seals"]) == ["positive"] and seals.broken(toy.content, court) == {}
    assert "no-radius DOES NOT FLIP IT" in repr(claims.card("toy").verdicts["positive"])
    assert "| toy | 1 ✔ | 0 | none | none | 0 of 1 |" in audit_table.text()
    assert "- toy, `positive`: not flipped by no-radius" in audit_table.text()


def test_the_table_of_the_documentation_counts_what_court_json_keeps(toy, tmp_path):
    rng, audit = np.random.default_rng(0), auditing.audit_of("toy", 3, True)
    good = [job_record(tmp_path / f"b{k}", toy, 1 + 0.5 * rng.standard_normal(12)) for k in range(3)]
    found = auditing.rows(
        toy,
        good[0],
        [good[1], good[2], job_record(tmp_path / "off", toy, rng.standard_normal(12))],
        {"no-radius": job_record(tmp_path / "zero", toy, np.zeros(12))},
    )
    (tmp_path / "docs").mkdir()
    assert audit_table.current() and not audit_table.write(), "a repository without a page on its court gets no table"
    (tmp_path / "docs" / "court.md").touch()
    auditing.record(toy, audit, found, good[0])
    assert not audit_table.current() and audit_table.write() and audit_table.current() and not audit_table.write()
    page = audit_table.place().read_text()
    assert "| toy | 1 ✔ | 3 | 2 of 3 | none | 1 of 1 |" in page
    assert "- toy, `positive`: reproduced as committed, inconclusive in 1 of 3 blocks" in page


def test_the_committed_table_of_audits_is_current():
    assert audit_table.current(), "`workbench sync` writes it"
