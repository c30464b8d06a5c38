"""An executed notebook as one HTML file."""

from __future__ import annotations

from functools import cache
from typing import Any

# JupyterLab's template leaves out the alt texts that `workbench.figures.show` puts into the pictures' metadata.
_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{%- if alt -%}
{{ super() | replace('<img src=', '<img alt="' ~ (alt | escape_html) ~ '" src=', 1) }}
{%- else -%}
{{ super() }}
{%- endif -%}
{%- endblock data_png -%}
"""


@cache
def _exporter() -> Any:
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="lab", raw_template=_TEMPLATE)


def to_html(notebook: Any, title: str) -> str:
    """The notebook (an nbformat node) as HTML with its figures inside, each with its alt text."""
    body, _ = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return body
