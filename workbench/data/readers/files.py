"""Reading files that others made: links stay inside their folder, sizes are bounded, errors name the file."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from workbench.data.errors import DataError, DataNotFoundError

_CHUNK = 1 << 20


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system or a decoder says about `path` into this package's two exceptions.

    What is neither a file nor a folder is refused at once: opening a FIFO would wait for somebody to write into it.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is no ordinary file (a FIFO, a socket or a device); replace it by a file")
        yield
    except (DataError, DataNotFoundError):
        raise
    except FileNotFoundError as error:
        raise DataNotFoundError(f"{path} is missing") from error
    except IsADirectoryError as error:
        raise DataError(
            f"{path} is a folder where a file was expected; move the file inside it to its place"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def inside(folder: Path, *parts: str) -> Path:
    """The path of a file in `folder`; a symbolic link that leads out of the folder is refused."""
    path = folder.joinpath(*parts)
    try:
        leaves = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be followed: {error}") from error
    if leaves:
        raise DataError(f"{path} leads out of its folder {folder}; replace the link by the file")
    return path


def contents(path: Path, limit: int) -> bytes:
    """The bytes of a file of at most `limit` bytes."""
    with reading(path), path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{path} is larger than {limit:,} bytes, the most this format can need")
    return data


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def md5(data: bytes) -> str:
    """The MD5 the publishers state (an identity of known files, no protection)."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
