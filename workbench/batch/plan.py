"""Which of the requested jobs would run, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.batch.jobs import Job, Sources
from workbench.batch.results.store import NEEDED, Record, Store, standing


def decide(jobs: Sequence[Job], store: Store, *, force: bool = False) -> Iterator[tuple[Job, Record | None, str]]:
    """Each job with the finished record that makes running it needless, or None and the reason why it would run."""
    sources = Sources()
    records: dict[str, dict[str, list[Record]]] = {}
    for job in jobs:
        if job.paper not in records:
            records[job.paper] = store.by_key(job.paper)
        same = records[job.paper].get(job.key, [])
        record = standing(job, same, sources)
        if record is not None:
            yield job, None if force else record, "asked for by --force"
        else:
            yield job, None, reason(job, store, same, sources)


def reason(job: Job, store: Store, records: Sequence[Record], sources: Sources) -> str:
    """Why a job would run, given the records with its key, none of which stands."""
    if store.busy(job.key):
        return "another run is doing it now"
    damaged = [
        record.damage(NEEDED) for record in records if record.finished and not sources.changes(job, record.content)
    ]
    if any(damaged):
        return "damaged since it finished: " + "; ".join(next(filter(None, damaged)))
    changes = [sources.changes(job, record.content) for record in records if record.finished]
    if changes:
        return "changed since it finished: " + ", ".join(min(changes, key=len))
    for record in records:
        error = record.content["error"]
        return f"failed before ({error['kind']}: {error['message'].splitlines()[0]})"
    return "never finished" if store.work(job.key).exists() else "never run"
