"""The commands that rerun papers and look after the store: run, status, clean, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from workbench.batch.jobs import Job
    from workbench.batch.results.store import Record
    from workbench.batch.running.execute import Options
    from workbench.batch.running.workers import Workers

Store = Annotated[
    Path | None, typer.Option("--out", "--store", help="Folder of the run store; default: runs/ in the repository.")
]


def run(
    papers: Annotated[list[str] | None, typer.Argument(help="Slugs, or a sweep file; default: every paper.")] = None,
    preset: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "laptop",
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="One value.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="NAME=A,B,..", help="Values; every combination of the grids is a job.")
    ] = None,
    zip_: Annotated[
        list[str] | None,
        typer.Option("--zip", metavar="NAME=A,B,.. NAME=A,B,..", help="Values taken together, row by row."),
    ] = None,
    out: Store = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: one per core.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=0.1, metavar="SECONDS", help="Longest time of a job.")] = None,
    memory: Annotated[float | None, typer.Option(min=0.01, metavar="GIB", help="Most memory of a job.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed job is tried again.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Redo finished jobs too.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Start no further job after a failure.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the jobs and which are finished.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Like --dry-run, with the reason why each job would run.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask: 'local', 'slurm' or tcp://host:port.")
    ] = None,
) -> None:
    """Rerun papers: every combination of the given parameters is a job; finished jobs are skipped."""
    from workbench.batch import grid as grids
    from workbench.batch import papers as known
    from workbench.batch import provenance
    from workbench.batch.plan import decide
    from workbench.batch.report.scoreboard import scoreboard
    from workbench.batch.results.store import Store
    from workbench.batch.running.execute import Options

    console = Console()
    # An option takes one word, so that of `--zip a=1,2 b=3,4` the second comes here.
    words = [name for name in papers or [] if not name.endswith(".toml")]
    slugs, further = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    if further and not zip_:
        raise grids.RequestError(f"{further[0]!r} is no paper; values go with -p, --grid or --zip")
    requests = [request for name in papers or [] if name.endswith(".toml") for request in grids.read_sweep(Path(name))]
    if slugs or not requests:
        named = slugs or list(known.known())
        requests.append(
            grids.Request(
                slugs,
                preset,
                grids.assignments(parameter or [], "-p", named, several=False),
                grids.assignments(grid or [], "--grid", named, several=True),
                grids.assignments([*(zip_ or []), *further], "--zip", named, several=True),
            )
        )
    elif parameter or grid or zip_:
        raise grids.RequestError("-p, --grid and --zip belong to papers named on the command line, not to a sweep file")
    planned = grids.plan(requests)
    store = Store(out or known.default_store())
    if not (dry_run or why):
        store.require_writable()
    decisions = list(decide(planned, store, force=force))
    if dry_run or why:
        _show_plan(console, decisions, why=why)
        if scheduler == "slurm":
            from workbench.batch.running.cluster import slurm_script

            console.print("\nEach worker is submitted as:\n", highlight=False)
            console.print(Text(slurm_script(None if memory is None else int(memory * 2**30))), soft_wrap=True)
        return
    options = Options(
        store=str(store.root.resolve()),
        force=force,
        timeout=timeout,
        memory=None if memory is None else int(memory * 2**30),
        git=provenance.git_state(),
    )
    records, finish = carry_out(console, decisions, options, jobs, scheduler, retries=retries, fail_fast=fail_fast)
    if records:
        console.print()
        console.print(scoreboard(records))
    finish()


def carry_out(
    console: Console,
    decisions: Sequence[tuple[Job, Record | None, str]],
    options: Options,
    jobs: int | None = None,
    scheduler: str | None = None,
    *,
    retries: int = 0,
    fail_fast: bool = False,
) -> tuple[list[Record], Callable[[], None]]:
    """Run the jobs that have no standing record, with their progress on the console.

    Returns:
        the finished records of all jobs, and what to call last: it prints the headline and raises `typer.Exit` where the
        run was interrupted or a job failed.
    """
    from workbench.batch.results.store import Record, Store, read_record
    from workbench.batch.running.progress import Progress
    from workbench.batch.running.schedule import run_jobs

    store = Store(options.store)
    done = [record for _, record, _ in decisions if record is not None]
    if done:
        console.print(Text(f"= {len(done)} of {len(decisions)} jobs are finished already", style="dim"))
    todo = [job for job, record, _ in decisions if record is None]
    with (
        _workers(scheduler, jobs, options.memory) as workers,
        Progress(todo, store, console, workers.slots) as progress,
    ):
        result = run_jobs(todo, options, workers.submit, progress, retries=retries, fail_fast=fail_fast)
    places = [Path(outcome.folder) for outcome in result.outcomes.values() if outcome.folder]
    records = done + [Record(place, content) for place in places if (content := read_record(place)) is not None]

    def finish() -> None:
        if todo:
            console.print(progress.headline())
        if result.interrupted:
            console.print("Interrupted. Nothing finished is lost; the same command does the rest.", style="yellow")
            raise typer.Exit(130)
        if result.count("failed"):
            failed = [outcome for outcome in result.outcomes.values() if outcome.status == "failed"]
            if any(outcome.folder for outcome in failed):
                kept = f"Failed jobs keep their notebook and error in {store.root}; `workbench status` lists them."
                console.print(kept, highlight=False)
            if lost := sum(outcome.folder is None for outcome in failed):
                console.print(f"{lost} failed jobs could not be recorded in the store: it could not be written to.")
            raise typer.Exit(1)

    return [record for record in records if record.finished], finish


def _workers(scheduler: str | None, jobs: int | None, memory: int | None) -> AbstractContextManager[Workers]:
    if scheduler is None:
        from workbench.batch.running.workers import local

        return local(jobs)
    from workbench.batch.running.cluster import connect

    return connect(scheduler, jobs, memory)


def _show_plan(console: Console, decisions: Sequence[tuple[Job, Record | None, str]], *, why: bool) -> None:
    for job, record, reason in decisions:
        text = Text("= finished  ", style="dim") if record is not None else Text("· would run ")
        text.append(job.label)
        if why and record is None:
            text.append(f"\n    {reason}", style="yellow")
        if why and record is not None and (untracked := record.content.get("untracked")):
            text.append(f"\n    it read files that are not tracked: {', '.join(untracked)}", style="yellow")
        console.print(text, soft_wrap=True)
    todo = sum(record is None for _, record, _ in decisions)
    console.print(f"{len(decisions)} jobs, {todo} to run", highlight=False)


def status(out: Store = None) -> None:
    """What the store holds: finished, failed and running jobs of each paper."""
    from workbench.batch import papers as known
    from workbench.batch.report.overview import overview

    console = Console()
    console.print(overview(out or known.default_store()), soft_wrap=True)


def clean(
    out: Store = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this only list it.")] = False,
) -> None:
    """List what can go from the store (leftovers, damaged, failed and superseded jobs); --yes removes it."""
    from workbench.batch import papers as known
    from workbench.batch.results import cleaning
    from workbench.batch.results.store import Store

    console = Console(highlight=False)
    store = Store(out or known.default_store())
    items = list(cleaning.removable(store))
    total = 0
    for item in items:
        size = item.size
        total += size
        console.print(
            Text(f"{item.path.relative_to(store.root)}  {size / 2**20:.1f} MiB  {item.reason}"), soft_wrap=True
        )
        if yes:
            cleaning.remove(item, store)
    done = "removed" if yes else "can go; `workbench clean --yes` removes it"
    console.print(f"{len(items)} items, {total / 2**20:.1f} MiB {done}" if items else "nothing to clean")


def verify(out: Store = None) -> None:
    """Compare every file of the store with the hash noted when its job ended; what is damaged is named, with the remedy."""
    from workbench.batch import papers as known
    from workbench.batch.results import cleaning, mapped
    from workbench.batch.results.store import REMEDY, Store

    console = Console(highlight=False)
    store = Store(out or known.default_store())
    if not store.root.is_dir():
        raise ValueError(f"there is no run store {store.root}: `workbench run` makes one")
    count, problems = 0, []
    for paper in store.papers():
        store.recover(paper)
        sound, damaged = cleaning.verified(store, paper)
        count += len(sound)
        problems += [problem for found in damaged.values() for problem in found]
    for path in sorted((store.root / ".cache").glob("*")):
        if not mapped.sound(path):
            problems.append(f".cache/{path.name}: a combined file is damaged; it is made again when needed")
    for problem in problems:
        console.print(Text(f"✘ {problem}", style="red"), soft_wrap=True)
    console.print(f"{count} jobs are as they were written, {len(problems)} problems")
    if problems:
        console.print(REMEDY)
        raise typer.Exit(1)


def report(
    out: Annotated[
        Path | None, typer.Option("--out", help="The page to write; default: report.html in the store.")
    ] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Folder of the run store.")] = None,
    compare: Annotated[Path | None, typer.Option(metavar="OLD", help="An earlier report to compare with.")] = None,
    explorers: Annotated[
        bool, typer.Option("--explorers", help="Put the papers' explorers in, computed beforehand.")
    ] = False,
) -> None:
    """Write one self-contained HTML page with every paper's scoreboard."""
    from workbench.batch import papers as known

    try:
        from workbench.batch.report.page import write_report
    except ModuleNotFoundError as error:
        if error.name != "workbench.batch.report.page":
            raise
        raise ValueError("this version has no report yet") from None

    folder = store or known.default_store()
    if not folder.is_dir():
        raise ValueError(f"there is no run store {folder}: `workbench run` makes one")
    page = write_report(folder, out or folder / "report.html", compare, explorers)
    Console().print(f"{page}", highlight=False, soft_wrap=True)
