"""Figures for those who cannot see them: every picture of a notebook carries its words.

The figure functions register what they drew, in numbers, with `describe`; `show` puts these sentences, the caller's and the
verdicts into the picture's metadata, where nbconvert and the report find them, and below the picture, where JupyterLab's
readers do (its image renderer knows no alt text).
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterable
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from workbench.claims.shown.plain_text import plain_text
from workbench.figures.verdict_rows import in_words

_WORDS: WeakKeyDictionary[Axes, list[str]] = WeakKeyDictionary()


def describe(ax: Axes, words: str) -> None:
    """Add a sentence on what was drawn on `ax`, for those who cannot see it; the same sentence once only."""
    told = _WORDS.setdefault(ax, [])
    if words not in told:
        told.append(words)


def alt_text(figure: Figure, alt: str = "", claims: Any = ()) -> str:
    """What a figure shows, as plain text: `alt`, then per Axes its labels and the registered sentences, then the verdicts.

    Empty where nothing is known. Arguments as in `show`.
    """
    sentences = [alt] if alt else []
    for ax in figure.axes:
        if ax.get_visible() and (told := _WORDS.get(ax)):
            sentences.append(f"{_heading(ax)}{'; '.join(told)}")
    sentences += in_words(claims)
    return plain_text(
        " ".join(sentence if sentence.endswith((".", "!", "?")) else f"{sentence}." for sentence in sentences)
    )


def _heading(ax: Axes) -> str:
    x, y = ax.get_xlabel(), ax.get_ylabel()
    title = next((words for place in ("left", "center", "right") if (words := ax.get_title(loc=place))), "")
    axes = f"{y} against {x}" if x and y else x or y
    return ", ".join(part for part in (title, axes) if part) + ": " if title or axes else ""


def show(figure: Figure, alt: str = "", *, caption: str = "", claims: Any = ()) -> None:
    """Display a figure in a notebook with its alt text and close it; use it in place of `plt.show()`.

    The output is a PNG whose metadata hold `alt` and `caption`, and below it the caption, which unfolds to the alt text.

    Args:
        alt: the effect in numbers, one or two sentences; TeX's Greek letters become characters. The sentences that the
            figure functions registered and the verdicts follow it.
        caption: one sentence below the picture.
        claims: what the figure shows: a verdict as `card.check` returns it, or several; their intervals and verdicts
            become part of the alt text.

    Raises:
        ValueError: where the picture would have no words: neither alt, nor claims, nor a figure function's sentence.

    Example:
        `show(figure, "SAM ends at 0.85 times SGD's test error.", caption="Test error over 20 seeds.", claims=verdict)`
    """
    words = alt_text(figure, alt, claims)
    if not words:
        raise ValueError("the picture has no words: give alt='...' with the effect it shows in numbers, and claims=")
    pixels = _png(figure)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(words)
        return
    from IPython.display import display

    picture = {"image/png": base64.b64encode(pixels).decode(), "text/plain": words}
    texts = {"alt": words, **({"caption": plain_text(caption)} if caption else {})}
    display(picture, metadata={"image/png": texts}, raw=True)
    display({"text/html": _folded(caption, words), "text/plain": plain_text(caption) or words}, raw=True)


def _png(figure: Figure) -> bytes:
    """The figure as PNG. An opaque one gets a palette of 256 colours: a third of the size, and no difference to see."""
    stream, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    picture = Image.open(stream)
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255):
        return stream.getvalue()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def _folded(caption: str, words: str) -> str:
    summary = f"<em>{escape(caption, quote=False)}</em>" if caption else "The figure in words"
    return f'<details class="workbench-caption"><summary>{summary}</summary>{escape(words, quote=False)}</details>'


def interval_words(centre: float, low: float, high: float) -> str:
    """`0.85 [0.8, 0.91]`, or the number alone where there is no interval."""
    finite = low == low and high == high
    return f"{centre:.3g} [{low:.3g}, {high:.3g}]" if finite else f"{centre:.3g}"


def listed(parts: Iterable[str], most: int = 6) -> str:
    """The parts with commas, the middle ones left out where there are more than `most`."""
    parts = list(parts)
    if len(parts) > most:
        half = most // 2
        parts = [*parts[:half], f"{len(parts) - 2 * half} more", *parts[-half:]]
    return ", ".join(parts)
