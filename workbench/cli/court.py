"""The commands that keep cards, notebooks and verdicts together: sync, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def sync(
    papers: Annotated[list[str] | None, typer.Argument(help="Slugs; default: every paper with a notebook.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail where a notebook differs.")] = False,
) -> None:
    """Write the parameters cell of notebooks from their cards, and the documentation's table of audits from court.json."""
    from workbench import claims
    from workbench.batch import audit_table
    from workbench.batch import papers as known
    from workbench.claims.parameters import cell

    console, differing = Console(highlight=False), []
    for slug in papers or [slug for slug in known.known() if known.notebook_of(slug).is_file()]:
        notebook, parameters = known.notebook_of(slug), claims.card(slug).parameter_specs
        if not notebook.is_file():
            raise ValueError(f"{slug}: there is no notebook {notebook.name} in {notebook.parent.name}/")
        if check:
            differing += [problem] if (problem := cell.differs(notebook, parameters)) else []
        elif cell.write(notebook, parameters):
            console.print(f"{slug}: parameters cell written")
    if check and not audit_table.current():
        differing.append(f"{audit_table.place().name} is not what the court.json files say")
    elif not check and audit_table.write():
        console.print(f"{audit_table.place().name} written")
    if differing:
        raise ValueError("\n".join([*differing, "`workbench sync` writes them anew"]))


def audit(
    papers: Annotated[list[str] | None, typer.Argument(help="Slugs; default: every paper with a notebook.")] = None,
    blocks: Annotated[int, typer.Option(min=0, max=50, help="Fresh blocks of seeds.")] = 8,
    controls: Annotated[bool, typer.Option("--controls", help="Also under every negative control.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes.")] = None,
    preset: Annotated[str, typer.Option(help="smoke, laptop or paper; only laptop is recorded.")] = "laptop",
    first_seed: Annotated[int, typer.Option(min=1, help="First seed of the first block.")] = 100_000,
    keep: Annotated[bool, typer.Option(help="Record it in papers/<slug>/court.json, with seals.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "--store", help="Folder of the run store.")] = None,
) -> None:
    """Do the verdicts hold on other seeds, and could they have come out otherwise?"""
    from workbench import claims
    from workbench.batch import audit_table, auditing, provenance
    from workbench.batch import papers as known
    from workbench.batch.plan import decide
    from workbench.batch.results.store import Store
    from workbench.batch.running.execute import Options
    from workbench.cli.rerun import carry_out

    console = Console()
    slugs = papers or [slug for slug in known.known() if known.notebook_of(slug).is_file()]
    audits = [auditing.audit_of(slug, blocks, controls, first_seed, preset) for slug in slugs]
    store = Store(out or known.default_store())
    options = Options(store=str(store.root.resolve()), git=provenance.git_state())
    decisions = list(decide([job for one in audits for job in one.jobs], store))
    records, finish = carry_out(console, decisions, options, jobs)
    by_key = {record.content["key"]: record for record in records}
    for one in audits:
        missing = sum(job.key not in by_key for job in one.jobs)
        if missing:
            console.print(f"{one.slug}: {missing} of {len(one.jobs)} jobs did not finish; no table", style="yellow")
            continue
        card, committed = claims.card(one.slug), by_key[one.committed.key]
        found = auditing.rows(
            card,
            committed,
            [by_key[job.key] for job in one.blocks],
            {name: by_key[job.key] for name, job in one.controls.items()},
        )
        console.print()
        console.print(auditing.table(card, found))
        if keep and preset == "laptop":
            auditing.record(card, one, found, committed)
            audit_table.write()
    finish()
