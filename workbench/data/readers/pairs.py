"""Lists of image pairs, original and edited, for collections that cannot be shared."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.readers import files

_LIMIT = 1 << 30


def read_pairs(path: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """The pairs of a CSV file with the header `original,variant`; its paths are relative to the file's folder.

    Every file must exist inside that folder. Decode them with `read_images`.
    """
    listing = Path(path)
    try:
        text = files.contents(listing, _LIMIT).decode("utf-8-sig")
        rows = list(csv.reader(text.splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{listing} is no CSV file: {error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != ["original", "variant"]:
        raise DataError(f"{listing} must begin with the line original,variant")
    pairs = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise DataError(f"{listing}, line {number}: expected two file names, found {len(row)} cells")
        original, variant = (_file(listing, number, cell.strip()) for cell in row)
        pairs.append((original, variant))
    if not pairs:
        raise DataError(f"{listing} lists no pairs")
    return pairs


def _file(listing: Path, number: int, name: str) -> Path:
    if "\0" in name:
        raise DataError(f"{listing}, line {number}: {name!r} is no file name")
    path = files.inside(listing.parent, name)
    with files.reading(path):
        present = path.is_file()
    if not present:
        raise DataNotFoundError(f"{listing}, line {number}: {path} is missing")
    return path
