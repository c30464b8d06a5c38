"""Imported once by the fork server: does beforehand what each worker would otherwise do anew for its one job.

Compiling nbconvert's templates and regular expressions takes ten times as long as converting a notebook.
"""

from __future__ import annotations

import nbformat

from workbench.batch import provenance
from workbench.batch.jobs import environment
from workbench.batch.running.html import to_html

_code = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
_code.outputs = [
    nbformat.v4.new_output("stream", text="text"),
    nbformat.v4.new_output("execute_result", {"text/plain": "2", "text/html": "<b>2</b>"}, execution_count=1),
    nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "a figure"}),
    nbformat.v4.new_output("error", ename="E", evalue="e", traceback=["\x1b[31mE\x1b[0m: e"]),
]
_markdown = nbformat.v4.new_markdown_cell(
    "# Title\n\n$x^2$, **bold**, `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\n1\n```"
)
to_html(nbformat.v4.new_notebook(cells=[_markdown, _code]), "warm")
environment()
provenance.packages()
provenance.machine()
