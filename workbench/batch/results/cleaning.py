"""What in a store can go: leftovers of killed runs, damaged, failed and superseded jobs, combined files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.batch import papers
from workbench.batch.jobs import Job, Sources
from workbench.batch.results import mapped
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
        records, damaged = verified(store, paper)
        yield from (Removable(path, f"damaged: {'; '.join(problems)}") for path, problems in damaged.items())
        by_key: dict[str, list[Record]] = {}
        for record in records:
            by_key.setdefault(record.content["key"], []).append(record)
        for same in by_key.values():
            finished = [record for record in same if record.finished]
            yield from (Removable(record.folder, "failed") for record in same if not record.finished)
            if len(finished) > 1:
                yield from (Removable(record.folder, reason) for record, reason in superseded(paper, finished))
    for path in sorted((store.root / ".cache").glob("*")):
        if path.is_dir() and not mapped.sound(path):
            yield Removable(path, "damaged: a combined file, made again when needed")
        else:
            yield Removable(path, "combined file, made again when needed")


def verified(store: Store, paper: str) -> tuple[list[Record], dict[Path, list[str]]]:
    """A paper's records in which every byte is as it was written, and what is wrong with everything else in its folder."""
    sound, damaged = [], {}
    for folder in sorted((store.root / paper).iterdir()):
        content = read_record(folder)
        if content is None:
            damaged[folder] = [_reason(folder)]
            continue
        record = Record(folder, content)
        problems = record.damage()
        unknown = sorted({path.name for path in folder.iterdir()} - {*content["files"], "job.json"})
        problems += [f"{paper}/{folder.name}/{name}: does not belong to the job" for name in unknown]
        if problems:
            damaged[folder] = problems
        else:
            sound.append(record)
    return sound, damaged


def _reason(folder: Path) -> str:
    where = f"{folder.parent.name}/{folder.name}"
    if not folder.is_dir():
        return f"{where}: is no job's folder"
    if not (folder / "job.json").is_file():
        return f"{where}/job.json: is missing"
    return f"{where}: job.json or the size of a file is not as it was written"


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
