"""`workbench lab`: JupyterLab on the notebooks."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def lab(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to jupyter lab (after --).")] = None,
) -> None:
    """Open JupyterLab at the repository, with the notebooks in front."""
    from workbench.batch import papers

    root = papers.default_store().parent
    first = root / "notebooks" / "00_start_here.ipynb"
    page = f"/lab/tree/notebooks/{first.name}" if first.is_file() else "/lab/tree/notebooks"
    command = [sys.executable, "-m", "jupyter", "lab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url={page}"]
    os.execv(sys.executable, [*command, *(arguments or [])])
