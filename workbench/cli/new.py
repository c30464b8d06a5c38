"""`workbench new paper SLUG` and `workbench new analysis [--from SLUG]`: files to start from, that run as they are.

Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.claims import loading
from workbench.claims.parameters import cell as parameters_cell

app = typer.Typer(help="Start a paper or an analysis from files that run as they are.", no_args_is_help=True)

TEMPLATES = Path(__file__).with_name("templates")

ANALYSIS = """\
import matplotlib.pyplot as plt

import workbench as wb

wb.figures.use_style()"""

_EXAMPLE = """\
problem = wb.problems.quadratic([0.5, 2.0])


def train(seed, rho):
    run = wb.run(problem, wb.optimizers.sam(0.2, rho), seed=seed, steps=50, record=["train_loss"])
    return run.records


result = wb.sweep(train, seed=range(10), rho=[0.0, 0.05, 0.1])
result.train_loss.mean("seed").plot.line(x="step", yscale="log")
plt.show()"""


@app.command("paper")
def new_paper(
    slug: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens, e.g. sharp-minima.")],
    title: Annotated[str, typer.Option(help="The paper's title.")] = "",
) -> None:
    """Card, notebook, room and tests of a new paper, with one example claim; they run and pass at once."""
    for path in scaffold_paper(_root(), slug, title):
        typer.echo(_shown(path))
    typer.echo(f"Run it: workbench run {slug}    Edit it: workbench lab {slug}")


@app.command("analysis")
def new_analysis(
    name: Annotated[str | None, typer.Argument(help="Name of the new notebook.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="Slug of the paper whose notebook is copied.")] = None,
) -> None:
    """A notebook of your own under scratch/: empty, or a copy of a paper's, which stays as it is."""
    typer.echo(_shown(scaffold_analysis(_root(), name, source)))


def scaffold_paper(root: Path, slug: str, title: str = "") -> list[Path]:
    """Write card, citation, notebook, room and tests of a paper under `root`; returns their paths, notebook first.

    In a clone of the repository the room is workbench/papers/<room>/, with tests in tests/papers/<room>/. Elsewhere the room lies
    beside the notebook and has no tests.

    Raises:
        ValueError: for a slug that is not lower-case words joined by hyphens, or one of which a file exists.
    """
    _refuse_odd(slug)
    title, room = " ".join((title or slug.replace("-", " ").capitalize()).split()), slug.replace("-", "_")
    inside = (root / "workbench" / "papers").is_dir()
    place = root / "workbench" / "papers" / room if inside else root / "notebooks" / room
    tests = [root / "tests" / "papers" / room] if inside else []
    folder, notebook = root / "papers" / slug, root / "notebooks" / f"{slug}.ipynb"
    for path in (folder, notebook, place, *tests):
        if path.exists():
            raise ValueError(f"{slug}: {path.relative_to(root)} exists already; choose another slug")
    words = {
        "slug": slug,
        "room": room,
        "title": title,
        "quoted": title.replace("\\", "\\\\").replace('"', '\\"'),
        "year": date.today().year,
        "key": slug.replace("-", ""),
        "import_room": f"from workbench.papers import {room} as room" if inside else f"\nimport {room} as room",
    }
    files = {folder / "paper.toml": "paper.toml", folder / "citation.bib": "citation.bib"}
    files |= {place / "__init__.py": "room", place / "study.py": "study", place / "explorer.py": "explorer"}
    files |= {one / "test_study.py": "test_study" for one in tests}
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(template, words), encoding="utf-8")
    _write(notebook, _cells(_filled("notebook", words)))
    parameters_cell.write(notebook, loading.read(folder / "paper.toml").parameters)
    return [notebook, *files]


def _filled(template: str, words: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # TeX and Python use the usual braces.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(f"{template}.jinja").render(words)


def _cells(text: str) -> list[Any]:
    """Cells of a text in which each opens with `# %% md` or `# %% code` and its tags; `hide` collapses the source."""
    cells = []
    for part in text.split("# %% ")[1:]:
        head, _, source = part.partition("\n")
        kind, *tags = head.split()
        cell = _text(source.strip("\n")) if kind == "md" else _code(source.strip("\n"), *(set(tags) - {"hide"}))
        if "hide" in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
        cells.append(cell)
    return cells


def scaffold_analysis(root: Path, name: str | None = None, source: str | None = None) -> Path:
    """Write a notebook under `root`/scratch and return its path: a copy of a paper's, or a short example.

    Raises:
        ValueError: for an odd name, one that is taken, or a paper without notebook.
    """
    if name is not None:
        _refuse_odd(name)
    from workbench.batch import papers

    folder = root / "scratch"
    target = papers.free_name(folder, source or "analysis") if name is None else folder / f"{name}.ipynb"
    if target.exists():
        raise ValueError(f"{target.relative_to(root)} exists already; choose another name")
    if source is None:
        _write(target, [_text(f"# {target.stem}"), _code(ANALYSIS), _code(_EXAMPLE)])
        return target
    return papers.scratch_copy(source, target)


def _root() -> Path:
    from workbench.batch import papers

    return papers.root()


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _refuse_odd(slug: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
        raise ValueError(f"{slug!r}: must be lower-case words joined by hyphens, such as 'sharp-minima'")


def _text(source: str) -> Any:
    import nbformat

    return nbformat.v4.new_markdown_cell(source)


def _code(source: str, *tags: str) -> Any:
    import nbformat

    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def _write(path: Path, cells: list[Any]) -> None:
    import nbformat

    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
