"""Reading text files that people saved with whatever editor they have."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        OSError: where it cannot be read.
        ValueError: for another encoding; names the file, the place and what to do.
    """
    return decoded(path.read_bytes(), path)


def decoded(content: bytes, path: Path) -> str:
    """The text in the bytes of the file `path`, as `read_text` reads it."""
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"{path}: is {name} text; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: is not UTF-8 text (line {line}); save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path}: holds zero bytes, so it is no text file or a damaged one")
    return text.replace("\r\n", "\n")
