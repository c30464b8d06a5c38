"""Markdown and TeX as plain words, for captions, alt texts and terminals."""

from __future__ import annotations

import re

from . import tex


def plain_text(markdown: str) -> str:
    """Words without their markup; TeX's Greek letters as characters, its other commands as their names.

    >>> plain_text(r"**Test loss** against $\\rho$ ([Fig. 2](x))")
    'Test loss against ρ (Fig. 2)'
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", tex.plain(markdown))
    text = re.sub(r"[*`${}]", "", text)
    return " ".join(re.sub(r"(?<!\w)_|_(?!\w)", "", text).split())
