"""The run store: one folder per job, which is either complete or not there.

    runs/<paper>/<12 hex>/   notebook.ipynb  notebook.html  claims.json  results.nc  provenance.json  job.json  stderr.txt
    runs/.work/<key>/        a job being written; leftovers of a killed one are cleared by the next run
    runs/.locks/<key>        held by the process that writes that job; the system frees it when the process dies

A folder is written under `.work`, flushed to the disk and renamed to its place; `job.json`, written last, carries status and the
sizes of the other files, so that a folder damaged afterwards is recognised too. Nothing here depends on the clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workbench.batch.jobs import Job, Sources

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """A job's folder and what its job.json says."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        return self.content["status"] == "finished"

    def json(self, name: str) -> Any:
        """Content of one of the folder's JSON files."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


class Store:
    """The jobs under one folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

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
        write_json(folder / "job.json", {"format": FORMAT, **content, "files": files})
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
    """The content of a folder's job.json, or None unless every file it lists is there with its size."""
    try:
        content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if content["status"] not in ("finished", "failed"):
            return None
        for name, (size, _) in content["files"].items():
            if (folder / name).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content


def standing(job: Job, records: Sequence[Record], sources: Sources) -> Record | None:
    """Of the records with a job's key, the finished one that still stands for it."""
    return next((record for record in records if record.finished and not sources.changes(job, record.content)), None)


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside `path`, flush it to the disk, and rename it to `path`."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
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
