"""Reading text files that people saved with whatever editor they have, and what of a Python file is code."""

from __future__ import annotations

import ast
import codecs
import contextlib
import hashlib
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


def code_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a Python file without its docstrings: what it does, not what it says of itself.

    Comments count, since only a parser tells them from text. A file that does not parse counts as it is.
    """
    content = path.read_bytes()
    with contextlib.suppress(SyntaxError, ValueError):
        content = b"".join(_without_docstrings(content))
    return hashlib.sha256(content).hexdigest()[:16]


def _without_docstrings(content: bytes) -> list[bytes]:
    lines, inside = content.splitlines(keepends=True), [ast.parse(content)]
    while inside:
        node = inside.pop()
        inside += [one for one in node.body if isinstance(one, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
        if ast.get_docstring(node, clean=False) is not None:
            words = node.body[0]
            assert words.end_lineno is not None
            first, last = words.lineno - 1, words.end_lineno - 1
            kept = lines[first][: words.col_offset] + b'""' + lines[last][words.end_col_offset :]
            lines[first : last + 1] = [kept] + [b""] * (last - first)
    return lines
