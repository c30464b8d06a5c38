"""Markdown and TeX as plain words, for captions and alt texts."""

from __future__ import annotations

import re

from workbench.claims.shown.tex import plain


def plain_text(markdown: str) -> str:
    """Words without their markup.

    >>> plain_text(r"**Test loss** against $\\rho$ ([Fig. 2](x))")
    'Test loss against ρ (Fig. 2)'
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain(markdown))
    for mark in (r"\*\*", r"\*", "`"):
        text = re.sub(f"{mark}([^*`]+){mark}", r"\1", text)
    return " ".join(re.sub(r"(?<!\w)_([^_]+)_(?!\w)", r"\1", text).split())
