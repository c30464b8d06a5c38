"""The run store: one folder per job, which is either complete or not there.

    runs/<paper>/<12 hex>/   notebook.ipynb  notebook.html  claims.json  results.nc  provenance.json  job.json  stderr.txt
    runs/.work/<key>/        a job being written; leftovers of a killed one are cleared by the next run
    runs/.locks/<key>        held by the process that writes that job; the system frees it when the process dies

A folder is written under `.work`, flushed to the disk and renamed to its place; `job.json`, written last, carries status, size
and SHA-256 of the other files and a checksum of its own: what was damaged afterwards is recognised when it is read. Nothing here
depends on the clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workbench.batch.jobs import Job, Sources

FORMAT = 2
CHECKSUM = "sha256"
REMEDY = "`workbench verify` lists what is damaged, `workbench clean --yes` removes it, `workbench run` makes it again"
NEEDED = ("claims.json", "results.nc")
"""The files without which a finished job is not worth keeping: they are compared before it counts as done."""


class DamagedError(ValueError):
    """A file of a job is not as it was written; names job and file."""


@dataclass(frozen=True)
class Record:
    """A job's folder and what its job.json says."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        return self.content["status"] == "finished"

    def read(self, name: str) -> bytes:
        """The bytes of one of the folder's files.

        Raises:
            DamagedError: when they are not those that were written.
        """
        where = f"{self.folder.parent.name}/{self.folder.name}/{name}"
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise DamagedError(f"{where}: cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != self.content["files"].get(name, (0, ""))[1]:
            raise DamagedError(f"{where}: its content has changed since the job ended")
        return content

    def json(self, name: str) -> Any:
        """Content of one of the folder's JSON files.

        Raises:
            DamagedError: when it is not what was written.
        """
        content = self.read(name)
        try:
            return json.loads(content)
        except ValueError as error:
            where = f"{self.folder.parent.name}/{self.folder.name}/{name}"
            raise DamagedError(f"{where}: cannot be read ({error})") from None

    def damage(self, names: Iterable[str] | None = None) -> list[str]:
        """What is wrong with the folder's files (or those of these names), in words."""
        found = []
        for name in self.content["files"] if names is None else [n for n in names if n in self.content["files"]]:
            try:
                self.read(name)
            except DamagedError as error:
                found.append(str(error))
        return found


class Store:
    """The jobs under one folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def require_writable(self) -> None:
        """Make the store's folder.

        Raises:
            ValueError: where it cannot be written to, saying what to do.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ValueError(
                f"the run store {self.root} cannot be written to ({error.strerror}); choose another folder by --store"
            ) from None

    def work(self, key: str) -> Path:
        """Folder in which the job with this key is being written."""
        return self.root / ".work" / key

    def lock(self, key: str) -> FileLock:
        """The lock of the job with this key (not yet acquired)."""
        path = self.root / ".locks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def papers(self) -> list[str]:
        """Slugs that have at least one folder."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))

    def records(self, paper: str | None = None) -> Iterator[Record]:
        """Every complete folder (finished or failed) of a paper, or of all, sorted by name."""
        for slug in self.papers() if paper is None else [paper]:
            folder = self.root / slug
            if folder.is_dir():
                for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                    if (content := read_record(path)) is not None:
                        yield Record(path, content)

    def by_key(self, paper: str) -> dict[str, list[Record]]:
        """A paper's records by the key of the request."""
        found: dict[str, list[Record]] = {}
        for record in self.records(paper):
            found.setdefault(record.content["key"], []).append(record)
        return found

    def begin(self, key: str) -> Path:
        """An empty working folder; call with the job's lock held."""
        folder = self.work(key)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def finish(self, folder: Path, paper: str, name: str, content: Mapping[str, Any]) -> Path:
        """Make a working folder the record `runs/<paper>/<name>`, replacing an older one of that name.

        Raises:
            OSError: for example when the disk is full; the store is then unchanged.
        """
        files = {p.name: [p.stat().st_size, _flushed_hash(p)] for p in sorted(folder.iterdir()) if p.is_file()}
        files.pop("job.json", None)
        write_record(folder / "job.json", {"format": FORMAT, **content, "files": files})
        _flush(folder)
        place = self.root / paper / name
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f".{name}.old")
        with self.lock(f"{paper}.replace"):
            self._put_back(paper)
            if place.exists():
                os.rename(place, aside)
            os.rename(folder, place)
            _flush(place.parent)
            shutil.rmtree(aside, ignore_errors=True)
        return place

    def recover(self, paper: str) -> None:
        """Put back folders that a run, killed between its two renames, left aside."""
        if any((self.root / paper).glob(".*.old")):
            with self.lock(f"{paper}.replace"):
                self._put_back(paper)

    def _put_back(self, paper: str) -> None:
        for aside in (self.root / paper).glob(".*.old"):
            place = aside.with_name(aside.name[1:].removesuffix(".old"))
            if place.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.rename(aside, place)

    def forget(self, paper: str, name: str) -> None:
        """Remove a record; its job.json goes first, so that no half-removed folder looks complete."""
        folder = self.root / paper / name
        if folder.exists():
            (folder / "job.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def busy(self, key: str) -> bool:
        """Whether some process is writing the job with this key now."""
        if not (self.root / ".locks" / key).exists():
            return False
        lock = self.lock(key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False


def read_record(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's job.json, or None unless it is as written and every file it lists is there with its size."""
    try:
        text = (folder / "job.json").read_bytes()
        content = json.loads(text)
        if content["status"] not in ("finished", "failed") or content["paper"] != folder.parent.name:
            return None
        if content.get("format") != 1:  # the first version had no checksum
            checksum = content[CHECKSUM]
            if hashlib.sha256(text.replace(checksum.encode(), b"", 1)).hexdigest() != checksum:
                return None
        for name, (size, _) in content["files"].items():
            if (folder / name).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return content


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a job.json: JSON whose last entry is the SHA-256 of all its other bytes."""
    text = _text({**content, CHECKSUM: ""})
    head, tail = text.rsplit('""', 1)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    _write(path, f'{head}"{checksum}"{tail}')


def standing(job: Job, records: Sequence[Record], sources: Sources) -> Record | None:
    """Of the records with a job's key, the finished one that still stands for it."""
    fitting = (record for record in records if record.finished and not sources.changes(job, record.content))
    return next((record for record in fitting if not record.damage(NEEDED)), None)


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside `path`, flush it to the disk, and rename it to `path`."""
    _write(path, _text(value))


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _flushed_hash(path: Path) -> str:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
