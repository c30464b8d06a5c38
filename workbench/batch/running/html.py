"""An executed notebook as one HTML file that needs no network: no scripts, figures inside, mathematics as MathML."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

# Nothing of JupyterLab's template that loads from elsewhere. It also leaves out the alt texts that `workbench.figures.show` puts
# into the pictures' metadata.
_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head -%}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:">
{{ super() }}
<style>details > summary { margin-left: 5rem; cursor: pointer; color: #5b636b; font-size: 0.85rem; }</style>
{%- endblock html_head -%}
{%- block html_head_js_requirejs -%}{%- endblock html_head_js_requirejs -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
{%- block input_group -%}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details><summary>Code</summary>{{ super() }}</details>
{%- else -%}
{{ super() }}
{%- endif -%}
{%- endblock input_group -%}
{%- block data_widget_view scoped -%}
<p>An explorer stands here in JupyterLab.</p>
{%- endblock data_widget_view -%}
{%- block data_latex scoped -%}
<div class="jp-RenderedLatex">{{ output.data['text/latex'] | markdown2html }}</div>
{%- endblock data_latex -%}
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
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def markdown2html(source: str) -> str:
        return MarkdownWithMath(renderer=Renderer(escape=False, anchor_link_text="")).render(source)

    made = HTMLExporter(template_name="lab", raw_template=_TEMPLATE)
    made.register_filter("markdown2html", markdown2html)
    return made


def mathml(tex: str, display: str = "inline") -> str:
    """TeX as MathML, which browsers draw by themselves; what the converter does not know stands as it was written."""
    from latex2mathml.converter import convert

    known = re.sub(r"\\arg\s*\\(min|max)", r"\\operatorname{arg\1}", tex)
    try:
        made = convert(known, display=display)
    except Exception:  # latex2mathml raises many kinds for mathematics that it cannot read
        made = "\\"
    return f"<code>{escape(tex)}</code>" if "\\" in re.sub("<[^>]*>", "", made) else made


def to_html(notebook: Any, title: str) -> str:
    """The notebook (an nbformat node) as HTML with its figures inside, each with its alt text."""
    body, _ = _exporter().from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return body
