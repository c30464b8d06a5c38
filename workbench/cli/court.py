"""The commands that keep cards, notebooks and verdicts together: sync, audit."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console


def sync(
    papers: Annotated[list[str] | None, typer.Argument(help="Slugs; default: every paper with a notebook.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail where a notebook differs.")] = False,
) -> None:
    """Write the parameters cell of notebooks from their cards."""
    from workbench import claims
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
    if differing:
        raise ValueError("\n".join([*differing, "`workbench sync` writes the cells from the cards"]))
