"""`workbench data`: which data sets there are, where they lie, and fetching them.

Expected problems (`ValueError`, `OSError`) are raised; the program turns them into one message.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workbench.data import catalogue
from workbench.data.errors import DataNotFoundError
from workbench.data.fetching import places

app = typer.Typer(help="Data sets: list, fetch, where.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A name that `workbench data list` shows.")]
_Root = Annotated[
    Path | None, typer.Option(help="The folder for data; default: WORKBENCH_DATA, else the cache folder.")
]


@app.command("list")
def list_sets() -> None:
    """List every data set and whether it is on this machine."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what", "here", "download"):
        table.add_column(heading, no_wrap=heading == "name")
    for entry in catalogue.ENTRIES.values():
        table.add_row(entry.name, entry.title, _here(entry), _download(entry))
    Console().print(table)


@app.command()
def where(name: _Name, root: _Root = None) -> None:
    """Print the folder of a data set, or where it was looked for and how to get it."""
    entry = catalogue.entry(name)
    if not entry.folders:
        typer.echo(f"{entry.name} has no folder: " + ("it is embedded" if entry.kind == "embedded" else "give root="))
        return
    typer.echo(places.find(entry, root)[0])


@app.command()
def fetch(
    name: _Name,
    root: _Root = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Download a data set, verify its official checksum and put it in its folder."""
    from workbench.data.fetching import download

    entry = catalogue.entry(name)
    folder = download.fetch(entry.name, root=root, progress=not quiet)
    typer.echo(f"{entry.name}: {folder}")


def _here(entry: catalogue.Entry) -> str:
    if entry.kind == "embedded":
        return "embedded"
    if not entry.folders:
        return "give root="
    try:
        return places.find(entry)[1].removeprefix("local folder ")
    except DataNotFoundError:
        return "no"


def _download(entry: catalogue.Entry) -> str:
    if entry.remote:
        return entry.size
    return "by hand" if entry.address else ""
