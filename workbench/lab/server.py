"""`workbench lab`: JupyterLab on the start page or on a paper, with a Launcher card for every notebook."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

START = "00_start_here.ipynb"
SETTINGS = Path(__file__).with_name("labsettings")


def lab(
    paper: Annotated[str | None, typer.Argument(help="Slug of a paper; without it the start page opens.")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to jupyter lab (after --).")] = None,
) -> None:
    """Open JupyterLab at the repository, on the start page or on a paper's notebook."""
    words = list(arguments or [])
    if paper is not None and paper.startswith("-"):
        paper, words = None, [paper, *words]
    command, environment = prepared(paper, words)
    os.execve(command[0], command, environment)


def prepared(paper: str | None = None, arguments: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The command that starts JupyterLab and its environment; writes the Launcher's cards.

    Raises:
        ValueError: for an unknown paper, or one without a notebook.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    from workbench.batch import papers

    root = papers.root()
    _unpack(root)
    notebook = root / "notebooks" / START
    if paper is not None:
        notebook = papers.notebook_of(paper)
        if not notebook.is_file():
            raise ValueError(
                f"{paper} has a card but no notebook {notebook.name} yet; `workbench list` shows which have"
            )
    cards = Path(jupyter_runtime_dir()) / "workbench-launcher"
    cards.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    (cards / "jp_app_launcher.yaml").write_text(json.dumps(launcher_cards(root), indent=1), encoding="utf-8")
    page = f"notebooks/{notebook.name}" if notebook.is_file() else "notebooks"
    command = [sys.executable, "-m", "jupyter", "lab", f"--ServerApp.root_dir={root}", *_as_root()]
    command += [f"--LabApp.default_url=/lab/tree/{page}", *arguments]
    settings = [str(SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    environment = os.environ | {
        "JUPYTER_CONFIG_PATH": os.pathsep.join(settings),
        "JUPYTER_APP_LAUNCHER_PATH": str(cards),
    }
    return command, environment


def _unpack(root: Path) -> None:
    """Outside a repository: copies of the installed package's cards and notebooks in the current folder, to be edited."""
    from workbench.claims import loading

    shipped = Path(loading.__file__).resolve().parents[1] / loading.SHIPPED
    if shipped.is_dir() and not (root / "papers").exists() and not (root / "notebooks").exists():
        shutil.copytree(shipped / "papers", root / "papers")
        shutil.copytree(shipped / "notebooks", root / "notebooks")
        print(f"copied papers/ and notebooks/ of the installed package to {root}")


def _as_root() -> list[str]:
    # In a container one is root, and Jupyter would refuse; the server listens on this machine only, with its token.
    return ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def launcher_cards(root: Path) -> list[dict[str, Any]]:
    """A card for the start page and one for every paper that has a notebook, for jupyter-app-launcher."""
    from workbench import claims

    entries = [("start", "Start here", "What this is, and the papers", START, "Workbench")]
    for slug, card in claims.cards().items():
        entries.append((slug, slug, card.paper.title, f"{slug}.ipynb", f"Papers: {card.paper.theme or 'other'}"))
    return [
        {
            "id": identity,
            "title": title,
            "description": description,
            "type": "jupyterlab-commands",
            "catalog": catalogue,
            "source": [{"label": title, "id": "docmanager:open", "args": {"path": f"notebooks/{name}"}}],
        }
        for identity, title, description, name, catalogue in entries
        if (root / "notebooks" / name).is_file()
    ]
