"""The start page's list of papers, JupyterLab's command, and the doctor."""

import hashlib
import json
import os

import pytest

from workbench.batch.results.store import write_record
from workbench.cli import doctor
from workbench.cli import new as scaffold
from workbench.lab import server as lab
from workbench.lab import start

SCOREBOARD = "On it (slug, preset laptop)\n\n3 claims: 2 reproduced, 0 contradicted, 1 inconclusive, 0 not run.\nMore."


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    scaffold.scaffold_paper(tmp_path, "one-paper", "One <paper>")
    scaffold.scaffold_paper(tmp_path, "two-papers")
    (tmp_path / "notebooks" / "two-papers.ipynb").unlink()
    return tmp_path


def write_output(root, slug, text):
    path = root / "notebooks" / f"{slug}.ipynb"
    notebook = json.loads(path.read_text())
    output = {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": 1}
    notebook["cells"][-1]["outputs"] = [output]
    path.write_text(json.dumps(notebook))


def test_papers_are_listed_with_their_state(root):
    shown = start.papers()
    states = {line.slug: line.source for line in shown.lines}
    assert states == {"one-paper": "not run yet", "two-papers": "no notebook yet"}
    html = shown._repr_html_()
    assert 'href="one-paper.ipynb"' in html and "two-papers.ipynb" not in html
    assert "One &lt;paper&gt;" in html and "One <paper>" not in html


def test_verdicts_come_from_the_notebook_until_there_is_a_run(root):
    write_output(root, "one-paper", SCOREBOARD)
    line = start.papers().lines[0]
    assert line.counts == {"reproduced": 2, "contradicted": 0, "inconclusive": 1, "not run": 0}
    assert line.source == "as committed" and "✔ 2 reproduced  ? 1 inconclusive" in repr(start.papers())
    for number, finished in (("0" * 12, "2024-01-02"), ("1" * 12, "2024-01-01")):
        folder = root / "runs" / "one-paper" / number
        folder.mkdir(parents=True)
        summary = {"reproduced": 3 if number == "0" * 12 else 0, "contradicted": 0}
        files = {
            "claims.json": {"preset": "smoke", "summary": summary},
            "provenance.json": {"finished": finished},
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        contents = {name: (folder / name).read_bytes() for name in files}
        listed = {name: [len(content), hashlib.sha256(content).hexdigest()] for name, content in contents.items()}
        write_record(folder / "job.json", {"status": "finished", "paper": "one-paper", "files": listed})
    line = start.papers().lines[0]
    assert (line.counts["reproduced"], line.source) == (3, "newest run, preset smoke")


def test_a_damaged_notebook_counts_as_not_run(root):
    (root / "notebooks" / "one-paper.ipynb").write_text("{")
    assert start.papers().lines[0].source == "not run yet"


def test_lab_opens_the_start_page_or_the_paper_and_keeps_its_token(root, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "elsewhere")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (root / "notebooks" / lab.START).write_text("{}")
    command, environment = lab.prepared()
    assert command[-1] == f"--LabApp.default_url=/lab/tree/notebooks/{lab.START}"
    assert not any("token" in word for word in command) and "--allow-root" not in command
    first, second = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    news = json.loads((lab.SETTINGS / "labconfig" / "default_setting_overrides.json").read_text())
    assert first == str(lab.SETTINGS) and second == "elsewhere"
    assert news["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command, _ = lab.prepared("one-paper", ["--no-browser"])
    assert "--allow-root" in command
    assert command[-2:] == ["--LabApp.default_url=/lab/tree/notebooks/one-paper.ipynb", "--no-browser"]
    with pytest.raises(ValueError, match="no notebook"):
        lab.prepared("two-papers")
    with pytest.raises(ValueError, match="did you mean"):
        lab.prepared("one-papr")


def test_every_notebook_has_a_launcher_card(root):
    (root / "notebooks" / lab.START).write_text("{}")
    cards = lab.launcher_cards(root)
    assert [card["title"] for card in cards] == ["Start here", "one-paper"]
    assert cards[1]["source"][0]["args"] == {"path": "notebooks/one-paper.ipynb"}


def test_the_doctor_has_one_line_each_and_advice_where_something_is_missing(root, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("WORKBENCH_DATA", str(root / "nowhere"))
    found = {finding.subject: finding for finding in doctor.examine()}
    assert list(found)[:4] == ["python", "packages", "jupyter", "papers"]
    assert {"compiler", "threads", "memory", "disk", "gpu", "data"} <= set(found)
    assert all("\n" not in finding.found + finding.advice for finding in found.values())
    assert "install g++" in found["compiler"].advice and not found["compiler"].needed
    assert "is no folder" in found["data"].advice
    assert not [finding for finding in found.values() if finding.needed and finding.advice]


def test_the_doctor_survives_what_it_examines(root, monkeypatch):
    monkeypatch.setenv("WORKBENCH_MEMORY", "plenty")
    found = {finding.subject: finding for finding in doctor.examine()}
    assert "plenty" in found["memory"].advice and found["disk"].found
