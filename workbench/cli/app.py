"""The command line: `workbench list | show | run | status | report | verify | clean | lab | new | doctor`.

A command is a function with typed arguments; a new one is one line in `commands`, wherever its function lives. Expected problems
(`ValueError`, `OSError`) are one message and exit status 2; a failed job is exit status 1; `--debug` shows tracebacks.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench.cli.printing import sturdy_output

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Papers on flat minima, sharpness and implicit bias: their claims measured. --debug shows tracebacks.",
)


@app.command("list")
def list_() -> None:
    """The papers: slug, year, title, number of claims, whether the notebook is there."""
    from workbench import claims
    from workbench.batch import papers

    cards = claims.cards()
    if not cards:
        raise ValueError("no papers found: start inside the repository, or set WORKBENCH_PAPERS to a folder of cards")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("paper", "year", "claims", "title"):
        table.add_column(name, no_wrap=name != "title", justify="right" if name == "claims" else "left")
    for slug, card in cards.items():
        title = Text(card.paper.title)
        if not papers.notebook_of(slug).is_file():
            title.append("  (no notebook yet)", style="dim")
        table.add_row(Text(slug), str(card.paper.year), str(len(card.claims)), title)
    Console().print(table)


@app.command()
def show(paper: Annotated[str, typer.Argument(help="Slug of the paper.")]) -> None:
    """A paper's question, parameters, presets and claims."""
    from workbench import claims

    card = claims.card(paper)
    console = Console(highlight=False)
    console.print(Text(card.paper.title, style="bold"))
    console.print(
        Text(f"{', '.join(card.paper.authors)} ({card.paper.year}) {card.paper.venue} {card.paper.url}".strip())
    )
    for text in (card.paper.question, card.paper.summary):
        if text:
            console.print(Text(f"\n{text}"))
    parameters = Table(title="\nparameters", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("name", *card.presets, "meaning"):
        parameters.add_column(name, overflow="fold")
    for name, parameter in card.parameter_specs.items():
        values = [str(preset.get(name, parameter.default)) for preset in card.presets.values()]
        meaning = f"{parameter.meaning} [{parameter.unit}]" if parameter.unit else parameter.meaning
        parameters.add_row(*map(Text, (name, *values, meaning)))
    console.print(parameters)
    table = Table(title="\nclaims", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("id", "statement", "source", "paper"):
        table.add_column(name, overflow="fold")
    for name, claim in card.claims.items():
        table.add_row(*map(Text, (name, claim.statement, f"{claim.source} ({claim.origin})", str(claim.paper))))
    console.print(table)


# Command, and where its function is; these modules are light, what they need is imported when a command runs.
commands = {
    "run": "workbench.cli.rerun:run",
    "status": "workbench.cli.rerun:status",
    "report": "workbench.cli.rerun:report",
    "verify": "workbench.cli.rerun:verify",
    "clean": "workbench.cli.rerun:clean",
    "sync": "workbench.cli.court:sync",
    "audit": "workbench.cli.court:audit",
    "lab": "workbench.lab.server:lab",
    "doctor": "workbench.cli.doctor:doctor",
}
for _name, _place in commands.items():
    _module, _function = _place.split(":")
    app.command(_name)(getattr(importlib.import_module(_module), _function))


# Groups of commands: where their typer application is, and their help. They are imported when used.
groups = {
    "data": ("workbench.cli.data:app", "Data sets: which there are, where they lie, fetching them."),
    "new": ("workbench.cli.new:app", "Start a paper or an analysis from files that run as they are."),
}


def _add_group(name: str, place: str, text: str) -> None:
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(name, help=text, context_settings=settings, add_help_option=False)
    def forward(context: typer.Context) -> None:
        module, attribute = place.split(":")
        getattr(importlib.import_module(module), attribute)(args=context.args, prog_name=f"workbench {name}")


for _name, (_place, _text) in groups.items():
    _add_group(_name, _place, _text)


def main() -> None:
    """Entry point of the console script."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sturdy_output()
    debug = len(arguments) < len(sys.argv) - 1 or os.environ.get("WORKBENCH_DEBUG") == "1"
    problems = Console(stderr=True, highlight=False)
    try:
        app(args=arguments, prog_name="workbench")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        if debug:
            raise
        problems.print(Text("workbench: ", style="bold red").append(Text(str(error), style="default")), soft_wrap=True)
        raise SystemExit(2) from None
    except Exception as error:
        if debug:
            raise
        text = f"{type(error).__name__}: {error}\nThis is a fault of the program; --debug shows where."
        problems.print(Text("workbench: ", style="bold red").append(Text(text, style="default")), soft_wrap=True)
        raise SystemExit(2) from None
