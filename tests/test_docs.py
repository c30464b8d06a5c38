"""The documentation: the site builds without network and without a broken link, and adding a paper works as printed."""

import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "adding-a-paper.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.S)


@pytest.mark.slow
def test_adding_a_paper_works_as_printed(tmp_path):
    (tmp_path / "papers").mkdir()
    environment = {**os.environ, "WORKBENCH_PAPERS": str(tmp_path / "papers"), "COLUMNS": "160"}

    def execute(block):
        printed = []
        for line in block.strip().splitlines():
            words = shlex.split(line)
            fails = words[0] == "!"
            words = words[1:] if fails else words
            assert words[0] == "workbench"
            command = [sys.executable, "-m", "workbench.cli", *words[1:]]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
            assert (done.returncode != 0) == fails, done.stdout + done.stderr
            printed.append(done.stdout + done.stderr)
        return printed

    start, again, refused = blocks("bash")
    assert "✔ 1 reproduced" in execute(start)[-1]
    (claim,), (cell,) = blocks("toml"), blocks("python")
    with open(tmp_path / "papers" / "steep-valleys" / "paper.toml", "a", encoding="utf-8") as card:
        card.write(f"\n{claim}")
    path = tmp_path / "notebooks" / "steep-valleys.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(-1, nbformat.v4.new_code_cell(cell))
    nbformat.write(notebook, path)
    assert "✔ 2 reproduced" in execute(again)[-1]
    negative, unknown = execute(refused)
    assert "step_size" in negative and "> 0" in negative
    assert "stepsize" in unknown and "did you mean" in unknown


@pytest.mark.parametrize("package", ["curvature", "data", "dynamics", "optimizers", "problems"])
def test_the_api_page_has_every_public_name_once(package):
    namespace = importlib.import_module(f"workbench.{package}")
    page = ROOT / "docs" / "api" / f"{'running' if package == 'dynamics' else package}.md"
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^\.\. auto(?:class|function|exception|data):: (\w+)$", text, flags=re.M)
    public = [name for name in namespace.__all__ if not inspect.ismodule(getattr(namespace, name))]
    assert sorted(found) == sorted(public)


class Links(HTMLParser):
    """The places that a page links to, and those that it has."""

    def __init__(self, path):
        super().__init__()
        self.to, self.anchors = [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.to.append(value)
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)


def broken_links(site):
    theirs = site / "_static" / "webpack-macros.html"  # a template of the theme
    pages = {path: Links(path) for path in site.rglob("*.html") if path != theirs}
    broken = []
    for path, links in pages.items():
        for link in links.to:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages.get(target)
            if not target.exists() or (known is not None and unquote(parts.fragment) not in known.anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


@pytest.mark.slow
def test_the_site_builds_without_network_and_without_warnings(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        str(tmp_path / "site" / "html"),
    ]
    unreachable = "http://127.0.0.1:9"
    environment = {**os.environ, "http_proxy": unreachable, "https_proxy": unreachable, "all_proxy": unreachable}
    environment["WORKBENCH_STATIC_EXPLORERS"] = "unified-sam"  # all of them take a minute
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site" / "html"
    assert "gradient_descent" in (site / "api" / "optimizers.html").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("[a-z]*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "<img" in page and "claims" in page
        cells = nbformat.read(notebook, as_version=4).cells
        displayed = sum(cell.source.count("$$") // 2 for cell in cells if cell.cell_type == "markdown")
        assert page.count('<div class="math') == displayed, f"{notebook.name}: a blank line is missing around $$"
    gallery = (site / "papers.html").read_text(encoding="utf-8")
    for notebook in (ROOT / "papers").glob("*/paper.toml"):
        if (ROOT / "notebooks" / f"{notebook.parent.name}.ipynb").is_file():
            assert f"_static/papers/{notebook.parent.name}.png" in gallery
    assert "_static/explorers/unified-sam.html" in gallery
    assert broken_links(site) == []
    _search_finds_the_top_eigenvalues(site)
    documented = {path.stem for path in (site / "api" / "rooms").glob("*.html")}
    assert documented == {path.parent.name for path in (ROOT / "workbench" / "papers").glob("*/__init__.py")}


def _search_finds_the_top_eigenvalues(site):
    """The site's search looks for its words in titles and index entries first, then in the text."""
    index = json.loads((site / "searchindex.js").read_text(encoding="utf-8").removeprefix("Search.setIndex(")[:-1])
    curvature = index["docnames"].index("api/curvature")
    assert [curvature, "top-eigenvalues"] in index["alltitles"]["Top eigenvalues"]
    assert any(entry[0] == curvature for entry in index["indexentries"]["largest eigenvalues"])
    page = (site / "api" / "curvature.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="top-eigenvalues">') :]
    assert 'id="workbench.curvature.top_eigenpairs"' in section[: section.index("</section>")]
    for word in ("top", "eigenvalu"):
        pages = [index[part].get(word, []) for part in ("terms", "titleterms")]
        assert any(curvature in (found if isinstance(found, list) else [found]) for found in pages)
