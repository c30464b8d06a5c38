"""Markdown and TeX as plain words, for captions, alt texts and terminals."""

from __future__ import annotations

import re
import unicodedata


def plain_text(markdown: str) -> str:
    """Words without their markup; TeX's Greek letters as characters, its other commands as their names.

    >>> plain_text(r"**Test loss** against $\\rho$ ([Fig. 2](x))")
    'Test loss against ρ (Fig. 2)'
    """
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"\\([A-Za-z]+)", _letter, text)
    text = re.sub(r"[*`${}]", "", text)
    return " ".join(re.sub(r"(?<!\w)_|_(?!\w)", "", text).split())


def _letter(match: re.Match) -> str:
    name = {"lambda": "lamda", "varepsilon": "epsilon"}.get(match[1].lower(), match[1].lower())
    case = "CAPITAL" if match[1][0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name.upper()}")
    except KeyError:
        return match[1]
