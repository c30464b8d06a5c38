"""The report says what the store holds, escapes what others wrote, and reads on a phone."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import report_store
from report_store import HOSTILE, STATEMENTS, entries, write_job, write_store

from workbench.batch.report import changes as report_changes
from workbench.batch.report import drawings as report_svg
from workbench.batch.report import notebook_figures as report_figures
from workbench.batch.report.collected import collect, essence, sweeps
from workbench.batch.report.page import write_report
from workbench.batch.results.store import write_record
from workbench.claims.judging.family import Pair
from workbench.claims.shown.plain_text import plain_text
from workbench.claims.verdict import Measurement
from workbench.claims.written.condition import Condition


def measurement(relation, threshold, estimate, low, high):
    condition = Condition(quantity="q", statistic="mean", relation=relation, threshold=threshold)
    return Measurement(condition, Pair(0.0, 1.0), estimate, low, high, n=10)


VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and all text outside scripts and styles."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("a site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_PAPERS", str(report_store.write_cards(root / "papers")))
        write_store(root / "runs")
        yield write_report(root / "runs", root / "pages" / "report.html").parent.parent


@pytest.fixture(scope="module")
def page(site):
    return Page(site / "pages" / "report.html")


def test_every_claim_of_every_paper_stands_there_with_its_verdict(site, page):
    data = collect(site / "runs")
    assert [paper["slug"] for paper in data["papers"]] == sorted(STATEMENTS)
    assert sum(data["counts"].values()) == sum(map(len, STATEMENTS.values())) == 40
    assert min(data["counts"].values()) > 0, "the made-up store has every verdict"
    for claims in STATEMENTS.values():
        for claim in claims:
            assert claim[0] in page.text and " ".join(claim[1].split()) in " ".join(page.text.split())
    assert "Towards Understanding Sharpness-Aware Minimization" in page.text and "Not run yet: swad" in page.text


def test_page_needs_no_network_and_runs_its_one_script_only(site, page):
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    text = (site / "pages" / "report.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    allowed = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and re.findall(r"script-src ([^;]*)", policy) == [f"'{allowed}'"]
    assert not page.all("iframe") and not page.all("object")
    assert all(source.startswith("data:image/") for source in (image["src"] for image in page.all("img")))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    outside = {anchor["href"] for anchor in page.all("a") if ":" in anchor["href"]}
    assert outside == {"https://arxiv.org/abs/2206.06232"}


def test_text_of_others_is_escaped_everywhere(site, page):
    assert not page.all("b") or all(not attrs for attrs in page.all("b"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert " ".join(HOSTILE.split()) in " ".join(page.text.split())
    assert '</figcaption><img src=x onerror="alert(1)">' in page.text
    assert "<i>m/s</i>" in page.text and not page.all("i")
    assert report_changes.embedded(site / "pages" / "report.html") == json.loads(
        json.dumps(essence(collect(site / "runs")))
    )


def test_links_lead_to_the_executed_notebooks(site, page):
    links = [unquote(a["href"]) for a in page.all("a") if a["href"].endswith(".html")]
    assert len(links) == 9, "eight finished jobs and a failed one"
    assert all((site / "pages" / link).is_file() for link in links)


def test_failed_and_damaged_jobs_are_listed_with_their_reason(page):
    assert "ZeroDivisionError: division by <zero>" in page.text and "1 / 0  # <script>" in page.text
    assert "Traceback <most recent> call last" in page.text
    assert "unified-sam/abcdefabcdef" in page.text and "1 folder unreadable" in page.text


def test_tables_have_headers_and_drawings_have_words(page):
    assert all(image["alt"] and "Plot" in image["alt"] for image in page.all("img"))
    drawings = [svg for svg in page.all("svg") if svg.get("class") in ("forest", "chart")]
    assert all(svg["role"] == "img" and "claimed" in svg["aria-label"] for svg in drawings)
    assert (
        len([svg for svg in drawings if svg["class"] == "forest"]) == 39
    )  # one claim has two conditions, two have none
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_same_store_gives_the_same_bytes(site):
    first = (site / "pages" / "report.html").read_bytes()
    assert write_report(site / "runs", site / "pages" / "report.html").read_bytes() == first
    assert [path.name for path in (site / "pages").iterdir()] == ["report.html"], "nothing half-written is left"


def test_main_job_is_the_newest_one_at_the_defaults_of_the_laptop_preset(site):
    paper = next(paper for paper in collect(site / "runs")["papers"] if paper["slug"] == "understanding-sam")
    assert (paper["main"]["preset"], paper["main"]["parameters"]["rho"]) == ("laptop", 0.05)
    assert [job["preset"] for job in paper["others"]] == ["smoke", "laptop", "laptop", "laptop", "laptop"]


def test_without_cards_the_newest_laptop_job_is_the_main_one(site, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path))
    paper = next(paper for paper in collect(site / "runs")["papers"] if paper["slug"] == "understanding-sam")
    assert (paper["title"], paper["main"]["parameters"]["rho"]) == ("understanding-sam", 0.5)


def test_a_sweep_is_a_group_of_jobs_that_differ_in_one_parameter():
    grid = [{"preset": "laptop", "parameters": {"rho": r, "n": n}} for r in (0.2, 0.1, 0.4) for n in (5, 10)]
    found = sweeps([*grid, {"preset": "smoke", "parameters": {"rho": 0.3, "n": 5}}, dict(grid[0])])
    shapes = [(one["name"], one["fixed"], [value for value, _ in one["points"]]) for one in found]
    assert shapes == [
        ("rho", {"n": 10}, [0.1, 0.2, 0.4]),
        ("rho", {"n": 5}, [0.1, 0.2, 0.4]),
        ("n", {"rho": 0.1}, [5, 10]),
        ("n", {"rho": 0.2}, [5, 10]),
        ("n", {"rho": 0.4}, [5, 10]),
    ]


def test_parameters_that_change_together_are_one_sweep():
    pairs = [{"preset": "laptop", "parameters": {"a": a, "b": b, "c": 1}} for a, b in ((2, "y"), (1, "x"), (3, "z"))]
    (found,) = sweeps(pairs)
    assert found["name"] == "a (with b)" and found["fixed"] == {}
    assert [(value, job["parameters"]["b"]) for value, job in found["points"]] == [(1, "x"), (2, "y"), (3, "z")]
    # A job that differs from one of them in a single parameter is drawn with that one; the others stay a pair.
    first, second = sweeps([*pairs, {"preset": "laptop", "parameters": {"a": 2, "b": "y", "c": 5}}])
    assert (first["name"], len(first["points"])) == ("c", 2) and first["fixed"] == {"a": 2, "b": "y"}
    assert (second["name"], len(second["points"])) == ("a (with b)", 2)


def test_claims_are_drawn_over_the_swept_parameter(page):
    labels = [svg["aria-label"] for svg in page.all("svg") if svg.get("class") == "chart"]
    assert len(labels) == 17
    label = next(label for label in labels if label.startswith("claimed ≥ 0.999; over rho: 0.02: 1.2"))
    assert label.count(";") == 5 and "reproduced" in label and "contradicted" in label


@pytest.mark.parametrize("values", [[0.0, 0.1, 1.0], ["gd", "s\"am<'>"], [[1, 2], [3]], [True, False], [1e-9, 1e9]])
@pytest.mark.parametrize("ends", [(0.1, 0.5, 0.9), ("-inf", 0.5, "inf"), ("nan", "nan", "nan"), ("inf", "inf", "inf")])
def test_charts_take_any_parameter_and_any_number(values, ends):
    low, middle, high = ends
    one = measurement("<=", 0.8, float(middle), float(low), float(high))
    drawn = str(report_svg.sweep_chart("x<y", [(value, one) for value in values]))
    numbers = re.findall(r' (?:y|x|y1|y2|height)="(-?[^"]+)"', drawn) + re.findall(
        r"translate\(([^,]+),([^)]+)\)", drawn
    )
    flat = [part for match in numbers for part in (match if isinstance(match, tuple) else (match,))]
    assert all(-1 <= float(part) <= 261 for part in flat) and "<'" not in drawn and "x<y" not in drawn


def test_forest_puts_the_claimed_side_to_the_right():
    def ends(*measured):
        drawn = str(report_svg.forest_row(measurement(*measured)))
        return [float(x) for x in re.search(r'class="bar[^"]*" x1="([\d.]+)%" x2="([\d.]+)%"', drawn).groups()]

    low, high = ends("<=", 0.8, 0.6, 0.5, 0.79)
    assert 50 < low < high < 97
    low, high = ends(">=", 0.8, 0.8, 0.2, 9.0)
    assert 3 < low < 50 < high


def test_comparing_with_an_older_report_shows_what_changed(site, tmp_path):
    old = site / "pages" / "report.html"
    assert "Nothing: same claims" in Page(write_report(site / "runs", tmp_path / "same.html", old)).text
    changed = entries("unified-sam", 0.05)[:-1]
    by_name = {claim["id"]: claim for claim in changed}
    by_name["plateau"].update(verdict="contradicted")
    by_name["plateau"]["conditions"][0].update(estimate=1.4, low=1.3, high=1.5, verdict="contradicted")
    by_name["smooth"]["claim"]["condition"][0].update(threshold=2.0)
    by_name["endpoints"]["conditions"][0].update(estimate=1e-14, low=1e-14, high=1e-14)
    write_job(tmp_path / "runs", "unified-sam", claims=changed, ended="2026-04-01T08:00:00Z")
    found = report_changes.changes(report_changes.embedded(old), essence(collect(tmp_path / "runs")))
    assert [(one["claim"], one["before"], one["after"]) for one in found["verdicts"]] == [
        ("plateau", "reproduced", "contradicted")
    ]
    assert [one["claim"] for one in found["moved"]] == ["plateau"], "rounding noise is no change"
    assert [(one["claim"], one["before"], one["after"]) for one in found["regions"]] == [("smooth", "≤ 1", "≤ 2")]
    assert [(one["paper"], one["claim"]) for one in found["removed"]] == [
        ("eigenvalue-filtering", ""),
        ("understanding-sam", ""),
        ("unified-sam", "paper-scale"),
    ]
    assert found["moved"][0]["way"] == "now outside the claimed region"
    assert found["verdicts"][0]["way"] == "against the claim" and "preset" not in found["verdicts"][0]["why"]
    text = Page(write_report(tmp_path / "runs", tmp_path / "changed.html", old)).text
    assert "What changed" in text and "Claimed regions that were edited in the card" in text


@pytest.mark.parametrize("content", ["", "<html>no report</html>", None])
def test_comparing_with_something_else_is_refused(tmp_path, content):
    other = tmp_path / "other.html"
    if content is not None:
        other.write_text(content)
    with pytest.raises(ValueError, match=r"compare = .*other\.html"):
        write_report(tmp_path / "runs", tmp_path / "report.html", other)
    assert not (tmp_path / "report.html").exists()


def test_an_empty_or_missing_store_gives_a_page_that_says_so(tmp_path):
    assert "No finished job" in Page(write_report(tmp_path / "nowhere", tmp_path / "report.html")).text
    with pytest.raises(ValueError, match="is a folder"):
        write_report(tmp_path / "nowhere", tmp_path)


def test_a_job_of_another_version_is_named_and_one_with_hardly_anything_is_shown(tmp_path):
    for content in ([], [{"id": "b", "verdict": "reproduced", "conditions": [{"estimate": 1.0}, "?"]}]):
        folder = write_job(tmp_path / "runs", f"p{len(content)}", claims=[])
        (folder / "claims.json").write_text(json.dumps({"claims": content}))
        (folder / "provenance.json").unlink()
        (folder / "notebook.ipynb").write_text("{")
        record = json.loads((folder / "job.json").read_text())
        content = (folder / "claims.json").read_bytes()
        files = {"claims.json": [len(content), hashlib.sha256(content).hexdigest()]}
        write_record(folder / "job.json", {**record, "files": files})
    data = collect(tmp_path / "runs")
    assert [paper["slug"] for paper in data["papers"]] == ["p0"]
    assert "recorded by another version" in data["unreadable"][0]["reason"]
    assert Page(write_report(tmp_path / "runs", tmp_path / "r.html")).text


def test_figures_take_their_captions_from_the_headings_above(tmp_path):
    (tmp_path / "n.ipynb").write_text(json.dumps(report_store.executed("p")))
    found = report_figures.figures(tmp_path / "n.ipynb")
    assert [figure.caption for figure in found] == ["Test loss against ρ", "Test loss against ρ (2)", "Spectra"]
    assert all(figure.source.startswith("data:image/png;base64,iVBOR") for figure in found)
    assert plain_text(r"**Sharpness** $\lambda_{\max}$ of [a](b) `x_y`") == "Sharpness λ_max of a x_y"


def test_runs_that_differ_in_preset_parameters_or_code_say_so():
    def run(preset, **code):
        condition = {"claimed": "> 0", "measured": "1", "estimate": 1.0, "low": 0.5, "high": 1.5, "past": 1.0}
        claims = {"c": {"verdict": "reproduced", "conditions": {"": condition}}}
        return {"papers": {"p": {"preset": preset, "parameters": {"n": 5}, "code": code, "claims": claims}}}

    old, new = run("smoke", torch="2.9"), run("laptop", torch="2.13")
    assert not report_changes.changes(old, new)["reasons"], "nothing moved, so nobody asks why"
    new["papers"]["p"]["claims"]["c"]["verdict"] = "inconclusive"
    found = report_changes.changes(old, new)
    assert found["verdicts"][0]["why"] == "preset smoke, now laptop; torch 2.9, now 2.13"
    assert found["verdicts"][0]["way"] == "against the claim"
    again = report_changes.changes(new, json.loads(json.dumps(new)))
    assert report_changes.count(again) == 0


def test_sweeps_that_differ_in_another_parameter_are_small_multiples_on_one_scale(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(report_store.write_cards(tmp_path / "papers")))
    for k, (rho, n) in enumerate((rho, n) for n in (10, 20) for rho in (0.1, 0.2, 0.4)):
        claims = entries("unified-sam", rho)
        ended = f"2026-04-01T08:00:{k:02d}Z"
        write_job(tmp_path / "runs", "unified-sam", claims=claims, ended=ended, rho=rho, n_seeds=n)
    page = Page(write_report(tmp_path / "runs", tmp_path / "r.html"))
    text = (tmp_path / "r.html").read_text()
    assert 'class="charts multiples"' in text and "n_seeds = 10" in page.text and "n_seeds = 20" in page.text
    for row in re.findall(r'<div class="charts multiples">(.*?)</div>', text, re.DOTALL):
        marks = [re.findall(r'text-anchor="end">([^<]*)<', svg) for svg in re.findall(r"<svg.*?</svg>", row)]
        assert len(marks) > 1 and all(one == marks[0] for one in marks)


@pytest.mark.browser
def test_claims_are_searched_filtered_and_sorted(site, chromium):
    tab = chromium.new_page(viewport={"width": 1280, "height": 900})
    tab.goto((site / "pages" / "report.html").as_uri())
    shown = tab.locator("#claims-index tbody tr:visible")
    details = tab.locator(".scoreboard tbody tr:visible")
    everything = shown.count()
    assert everything == details.count() == sum(map(len, STATEMENTS.values()))
    tab.get_by_label("Search").fill("sharpness predicts")
    assert 0 < shown.count() == details.count() < everything
    assert tab.locator("output").inner_text() == f"{shown.count()} of {everything} claims"
    assert tab.locator("section.paper:visible").count() == 1
    tab.get_by_role("button", name="Show all").click()
    tab.wait_for_function(f"document.querySelector('output').value.startsWith('{everything} ')")
    tab.get_by_role("checkbox", name="reproduced").first.uncheck()
    assert "reproduced" not in {row.get_attribute("data-verdict") for row in shown.all()}
    tab.get_by_role("button", name="Show all").click()
    tab.locator("select[name=paper]").select_option("unified-sam")
    assert {row.get_attribute("data-paper") for row in shown.all()} == {"unified-sam"}
    for down in (False, True):
        tab.locator("button[data-sort=claim]").click()
        names = [row.get_attribute("data-claim") for row in shown.all()]
        assert names == sorted(names, reverse=down)
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1920])
def test_the_page_has_no_serious_accessibility_fault(site, chromium, width):
    axe = pytest.importorskip("axe_core_python", reason="needs axe-core-python (extra test)")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        tab = context.new_page()
        tab.goto((site / "pages" / "report.html").as_uri())
        tab.evaluate(source)
        found = tab.evaluate("axe.run()")["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert not serious
        context.close()


@pytest.mark.browser
def test_page_fits_phone_and_desk_in_light_and_dark(site, chromium):
    contrast = """() => {
      const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const shine = c => { const [r, g, b] = rgb(c).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                           return .2126 * r + .7152 * g + .0722 * b; };
      const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                            if (!c.endsWith(', 0)') && c !== 'transparent') return c; } return 'rgb(255,255,255)'; };
      return Math.min(...[...document.querySelectorAll('.badge, .count, .faint, .meta, a, code, p, td, th')].map(e => {
        const [a, b] = [shine(getComputedStyle(e).color), shine(behind(e))].sort((x, y) => y - x);
        return (a + .05) / (b + .05); })); }"""
    for width in (390, 1280, 1920):
        for scheme in ("light", "dark"):
            tab = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            trouble = []
            tab.on("console", lambda message, said=trouble: said.append(message.text))
            tab.on("request", lambda request, said=trouble: request.url.startswith("http") and said.append(request.url))
            tab.goto((site / "pages" / "report.html").as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, "no sideways scrolling"
            assert tab.evaluate(contrast) >= 4.5, f"text is hard to read in {scheme} colours"
            assert tab.locator("svg.forest").first.bounding_box()["width"] > 250
            assert not trouble
            tab.close()
