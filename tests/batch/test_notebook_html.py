"""The HTML copy of an executed notebook needs no network and runs nothing."""

import re
from pathlib import Path

import nbformat
import pytest

from workbench.batch.running.html import mathml, to_html

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb"))
MATHEMATICS = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs():
    code = nbformat.v4.new_code_cell("1", metadata={"jupyter": {"source_hidden": True}})
    code.outputs = [
        nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}),
        nbformat.v4.new_output("display_data", {"text/latex": "$x^2$"}),
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": "a <b>"}}),
    ]
    text = nbformat.v4.new_markdown_cell("# Title\n\n$a < b$ and\n\n$$\\frac{1}{n}$$\n\n```mermaid\ngraph\n```")
    page = to_html(nbformat.v4.new_notebook(cells=[text, code]), "a title")
    assert "<script" not in page and not re.search(r"(?:src|href)=[\"']?https?:", page)
    assert "default-src 'none'" in page
    assert page.count("<math") == 3 and "<details>" in page and 'alt="a &lt;b&gt;"' in page
    assert "<title>a title</title>" in page


def test_what_is_no_known_mathematics_stands_as_it_was_written():
    assert mathml(r"\nosuchthing x") == r"<code>\nosuchthing x</code>"
    assert mathml(r"\left( x") == r"<code>\left( x</code>"
    assert "argmin" in mathml(r"\arg\min_x f")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_mathematics_of_the_notebooks_is_drawn(notebook):
    cells = [cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "markdown"]
    found = [block or line for source in cells for block, line in MATHEMATICS.findall(source)]
    assert [tex for tex in found if not mathml(tex).startswith("<math")] == []
