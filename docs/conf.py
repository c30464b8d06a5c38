"""The documentation site: executed notebooks, API reference and guides. Builds without network; broken links fail."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import _docstrings  # noqa: E402
import _papers  # noqa: E402
import _rooms  # noqa: E402

from workbench import __version__  # noqa: E402

project = "workbench"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute", "court-rates.md", "court-audits.md"]

# Notebooks are shown as they were committed.
nb_execution_mode = "off"
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
# Formatting faults inside docstrings and notebooks are not broken links; those keep failing.
# Nor is a word that several objects are called by.
suppress_warnings = ["docutils", "mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure", "ref.python"]

napoleon_use_ivar = True  # a NamedTuple's fields are members already
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True, "ignore-module-all": False}
autodoc_typehints = "signature"
default_role = "code"
maximum_signature_line_length = 90

# Types of other libraries have no page here, and looking theirs up would need the network; everything else must resolve.
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]

html_theme = "pydata_sphinx_theme"
html_title = "workbench"
html_theme_options = {
    "navigation_with_keys": True,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_end": [],
}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["gallery.css"]
# Formulas are typeset in the reader's browser; nothing is fetched to build.
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"


def setup(app):
    """Docstrings are plain text with Google sections; the lists of papers and rooms are written from what is there."""
    _papers.write(HERE)
    _rooms.write(HERE)
    app.connect("autodoc-process-docstring", _docstrings.process, priority=400)
    app.connect("autodoc-process-signature", _docstrings.signature)
    app.connect("autodoc-skip-member", _docstrings.skip)
