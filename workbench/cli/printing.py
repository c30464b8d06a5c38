"""Printing that ends nothing: on streams that lack a symbol, are closed, or are full."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from typing import Any

_PLAIN = {
    "✔": "+",
    "✘": "x",
    "○": "o",
    "■": "#",
    "·": "-",
    "▸": ">",
    "…": "...",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "–": "-",
    "×": "x",
}
_NAME = "workbench.plain"


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end])
    return text, error.end


class Sturdy:
    """A text stream in the place of another one: what cannot be written is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._lost = stream, False
        codecs.register_error(_NAME, _plainly)
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors=_NAME)

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, what: str, *arguments: str) -> None:
        if self._lost:
            return
        try:
            getattr(self._stream, what)(*arguments)
        except (OSError, ValueError):  # a closed pipe or file, a full disk
            self._lost = True
            # What is still in the buffer would raise once more when Python ends.
            with suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def sturdy_output() -> None:
    """Let printing fail in silence from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Sturdy):
            setattr(sys, name, Sturdy(stream))
