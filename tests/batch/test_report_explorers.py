"""Explorers in a report: each in its paper's section, moved by the page's one script, 2 MB in all."""

import base64
import hashlib
import re

import pytest
import report_store

from workbench.batch.report import explorers as report_explorers
from workbench.batch.report.collected import collect
from workbench.batch.report.page import render
from workbench.explorers import static


@pytest.fixture(autouse=True)
def few_states(monkeypatch):
    monkeypatch.setattr(static, "MOST_STATES", 8)


def test_papers_without_an_explorer_have_none():
    assert report_explorers.explorer_module("unified-sam") == "workbench.papers.unified_sam.explorer"
    assert not any(map(report_explorers.explorer_module, ("no-such-paper", "../unified-sam", "os.path", "")))
    assert report_explorers.fragments([{"slug": "no-such-paper"}]) == {}


def test_the_explorers_share_a_page(monkeypatch):
    monkeypatch.setattr(static, "BUDGET", 240_000)
    found = report_explorers.fragments([{"slug": "unified-sam"}, {"slug": "flat-minima-sco"}, {"slug": "none"}])
    assert list(found) == ["unified-sam", "flat-minima-sco"]
    assert all(len(part.encode()) <= 120_000 for part in found.values())


def test_an_explorer_stands_in_its_papers_section_and_the_policy_lets_its_script_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(report_store.write_cards(tmp_path / "papers")))
    report_store.write_store(tmp_path / "runs")
    data = collect(tmp_path / "runs")
    page = render(data, tmp_path, None, {"unified-sam": '<section class="static-explorer">here</section>'})
    section = page[page.index('id="paper-unified-sam"') :]
    assert "here" in section[: section.index("</details>\n") + 2000] and page.count("static-explorer") > 1
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src '{allowed}'" in page and static.SCRIPT in script and static.STYLE in page
    assert "static-explorer" not in render(data, tmp_path)
