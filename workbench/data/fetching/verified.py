"""A note left beside files unpacked from an archive whose official checksum matched, so that loading can tell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from workbench.data.errors import DataError
from workbench.data.readers import files

NOTE = ".workbench-verified.json"


def write(folder: Path, archive: str, checksum: str) -> None:
    """Note the SHA-256 of every file now in `folder`, unpacked from `archive` with the official `checksum`."""
    digests = {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE
    }
    text = json.dumps({"archive": archive, "checksum": checksum, "sha256": digests}, indent=1, sort_keys=True)
    temporary = folder / f"{NOTE}.{os.getpid()}"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / NOTE)


def matches(folder: Path, paths: Iterable[Path], *, rehash: bool = True) -> bool:
    """Whether every path is unchanged since it was unpacked from a verified archive; without a note, False.

    `rehash=False` only asks whether the note lists the paths, for files too large to read in full.
    """
    note = files.inside(folder, NOTE)
    if not note.exists():
        return False
    text = files.contents(note, 1 << 26)
    try:
        digests = dict(json.loads(text.decode("utf-8"))["sha256"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{note} is damaged ({error}); delete it, and the folder counts as not verified") from error
    listed = {path: digests.get(path.relative_to(folder).as_posix()) for path in paths}
    if not rehash:
        return all(listed.values())
    return all(digest == files.sha256(path) for path, digest in listed.items())
