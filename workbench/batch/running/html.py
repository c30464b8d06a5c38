"""An executed notebook as one HTML file."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _exporter() -> Any:
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="lab")


def to_html(notebook: Any, title: str) -> str:
    """The notebook (an nbformat node) as HTML with its figures inside."""
    body, _ = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return body
