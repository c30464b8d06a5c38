"""What in a store can go: leftovers of killed runs, damaged, failed and superseded jobs, combined files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.batch import papers
from workbench.batch.jobs import Job, Sources
from workbench.batch.results.store import Record, Store, read_record


@dataclass(frozen=True)
class Removable:
    """A folder or file that can go, and why."""

    path: Path
    reason: str

    @property
    def size(self) -> int:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def removable(store: Store) -> Iterator[Removable]:
    """Everything that can go without losing a result that is the only one for its parameters."""
    work = store.root / ".work"
    for folder in sorted(work.iterdir()) if work.is_dir() else []:
        if not store.busy(folder.name):
            yield Removable(folder, "left over from a run that was killed")
    for paper in store.papers():
        store.recover(paper)
        for folder in sorted((store.root / paper).iterdir()):
            if read_record(folder) is None:
                yield Removable(folder, "damaged: a file is missing or cut off")
        for same in store.by_key(paper).values():
            finished = [record for record in same if record.finished]
            yield from (Removable(record.folder, "failed") for record in same if not record.finished)
            if len(finished) > 1:
                yield from (Removable(record.folder, reason) for record, reason in superseded(paper, finished))
    for path in sorted((store.root / ".cache").glob("*")):
        yield Removable(path, "combined file, made again when needed")


def superseded(paper: str, records: list[Record]) -> Iterator[tuple[Record, str]]:
    """Of finished records for one request, those besides the one that stands; none where no one stands."""
    place = papers.place_of(paper)
    if place is None:
        return
    sources = Sources()
    content = records[0].content
    job = Job(paper, *place, content["preset"], content["parameters"])
    changes = {record.folder: sources.changes(job, record.content) for record in records}
    if all(changes.values()):
        return
    for record in records:
        if changes[record.folder]:
            yield record, "superseded: " + ", ".join(changes[record.folder])


def remove(item: Removable, store: Store) -> None:
    """Remove one item; a job's job.json goes first, so that no half-removed folder looks complete."""
    if item.path.parent.parent == store.root and not item.path.parent.name.startswith("."):
        store.forget(item.path.parent.name, item.path.name)
    elif item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)
