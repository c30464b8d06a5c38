"""Downloads: only on request, only with a matching official checksum, complete or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from workbench.data.catalogue import Entry, entry
from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.fetching import places, verified
from workbench.data.fetching.transfer import transfer
from workbench.data.readers import files

LARGEST, MOST_MEMBERS, DEEPEST = 1 << 32, 1000, 20
"""Bytes, members and depth of the largest archive that is unpacked; CIFAR-10-C has 2.9e9 bytes, none has more than 30 members."""


def fetch(name: str, *, root: str | os.PathLike[str] | None = None, progress: bool = True) -> Path:
    """Download a data set into `root`, else WORKBENCH_DATA, else the cache folder; returns its folder.

    A set that is already there is left alone. Every file must match its official MD5, archives are checked before
    they are unpacked, and an interrupted download goes on where it broke off when it is asked for again.
    """
    wanted = entry(name)
    if wanted.kind == "embedded":
        raise ValueError(f"{wanted.name} ships with the package; there is nothing to fetch")
    if not wanted.remote:
        raise DataNotFoundError(places.absent(wanted, [path for path, _ in places.candidates(wanted, root)]))
    home = places.home(root)
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{wanted.folders[0]}.lock").acquire()
    except OSError as error:
        raise DataError(
            f"{home} cannot be written to ({error}); choose another folder by root= or WORKBENCH_DATA"
        ) from error
    with lock:
        return _present(wanted, home) or _into(home, wanted, progress)


def _into(home: Path, wanted: Entry, progress: bool) -> Path:
    target = home / wanted.folders[0]
    if wanted.kind == "idx":
        for remote in wanted.remote:
            transfer(remote, target, progress)
        return target
    if target.exists():
        raise DataError(f"{target} is in the way: it exists but is no complete {wanted.name}; move it away")
    (remote,) = wanted.remote
    archive = transfer(remote, home, progress)
    unpack(archive, target, checksum=f"md5:{remote.md5}")
    archive.unlink()
    return target


def unpack(archive: Path, target: Path, checksum: str) -> None:
    """Unpack a tar archive whose only top folder becomes `target`.

    Members that leave it, links, devices and names that come twice are refused, and more than any set here can need.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        try:
            with files.reading(archive), tarfile.open(archive) as tar:
                names, size = set(), 0
                for member in tar:
                    _check(archive, member)
                    name = "/".join(PurePosixPath(member.name).parts)
                    if member.isfile() and name in names:
                        raise DataError(f"{archive}: member {member.name!r} comes twice")
                    names.add(name)
                    size += member.size
                    if size > LARGEST or len(names) > MOST_MEMBERS:
                        raise DataError(f"{archive} holds more than {LARGEST:,} bytes or {MOST_MEMBERS:,} members")
                    tar.extract(member, partial, filter="data")
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{archive} is no readable tar archive: {error}") from error
        inner = [path for path in partial.iterdir() if path.is_dir()]
        if len(inner) != 1:
            raise DataError(f"{archive} should hold one folder and holds {len(inner)}")
        verified.write(inner[0], archive.name, checksum)
        inner[0].replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check(archive: Path, member: tarfile.TarInfo) -> None:
    parts = PurePosixPath(member.name).parts
    if len(parts) > DEEPEST:
        raise DataError(
            f"{archive}: member {member.name[:60]!r}... lies {len(parts)} folders deep; no set here needs that"
        )
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name or not parts:
        raise DataError(f"{archive}: member {member.name!r} would leave the folder it is unpacked into")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: member {member.name!r} is a link or device; only files and folders are unpacked")


def _present(wanted: Entry, home: Path) -> Path | None:
    for name in wanted.folders:
        folder = home / name
        if wanted.kind == "idx":
            names = [remote.name for remote in wanted.remote]
            complete = all((folder / file).exists() or (folder / file.removesuffix(".gz")).exists() for file in names)
        else:
            complete = any((folder / file).exists() for file in wanted.evidence)
        if complete:
            return folder
    return None
