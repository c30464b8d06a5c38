"""`workbench new paper SLUG` and `workbench new analysis [--from SLUG]`: files to start from, that run as they are.

Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.claims import loading
from workbench.claims.parameters import cell as parameters_cell

app = typer.Typer(help="Start a paper or an analysis from files that run as they are.", no_args_is_help=True)

CARD = """\
[paper]
slug = "{slug}"
title = "{title}"
authors = ["A. Author"]
year = {year}
venue = ""
url = ""
theme = "new"
question = "One line: what does the paper ask?"
summary = "The question, the answer, and why a practitioner cares, in five sentences."

[parameters.step_size]
type = "float"
default = 0.2
exclusive_min = 0
max = 2
meaning = "step size of gradient descent"

[parameters.n_steps]
type = "int"
default = 50
min = 1
meaning = "steps of every run"

[parameters.n_seeds]
type = "int"
default = 10
min = 5
meaning = "random starts"

[presets.smoke]
n_seeds = 5

[[claim]]
id = "loss-falls"
statement = "Gradient descent lowers the loss of a quadratic a thousandfold within 50 steps"
source = "Theorem 1"
origin = "derived"
paper = "below 0.001"
seeds = "n_seeds"
expected = "reproduced"
[[claim.control]]
name = "hardly-moves"
set = {{ step_size = 1e-4 }}
meaning = "steps too short to lower anything"
[[claim.condition]]
quantity = "loss at the end over loss at the start"
statistic = "ratio"
relation = "<"
threshold = 1e-3
"""

CITATION = """\
@misc{{{key},
  title  = {{{title}}},
  author = {{Author, A.}},
  year   = {{{year}}}
}}
"""

_OPENING = """\
import matplotlib.pyplot as plt

import workbench as wb

card = wb.card("{slug}")
p = card.parameters(globals())
wb.figures.use_style()"""

_MEASURE = """\
problem = wb.problems.quadratic([0.5, 2.0])


def train(seed):
    run = wb.run(problem, wb.optimizers.gradient_descent(p.step_size), seed=seed, steps=p.n_steps, record=["train_loss"])
    return run.records


result = wb.sweep(train, seed=range(p.seed0, p.seed0 + p.n_seeds))
card.save(result=result)"""

_FIGURE = """\
fig, ax = plt.subplots(figsize=(7, 3.5))
wb.figures.band(ax, None, result.train_loss, log=True, diverged=result.diverged)
wb.figures.show(fig, "The training loss falls.", caption="Figure 1. Training loss, 95 % interval over seeds.")"""

_CHECK = """\
card.section("loss-falls")
card.check("loss-falls", (result.train_loss.isel(step=-1) / result.train_loss.isel(step=0)).values)"""

_EXPLORER = """\
card.section()
import numpy as np

from workbench.explorers import Control, Explorer


def draw(figure, step_size):
    if step_size >= 1:
        raise ValueError(f"gradient descent diverges at step sizes of 1 and more, got {step_size:.3g}")
    factors = 1 - step_size * np.array([0.5, 2.0])
    steps = np.arange(p.n_steps + 1)[:, None]
    figure.subplots().semilogy(steps, np.abs(factors) ** steps, label=[f"eigenvalue {value:g}" for value in (0.5, 2.0)])
    figure.axes[0].set(xlabel="step", ylabel="distance to the minimum")
    figure.axes[0].legend()
    return f"Slowest direction: factor {np.abs(factors).max():.3f} per step."


Explorer("How fast?", [Control("step_size", "step size", 0.2, 0.01, 2.0, kind="log")], draw, (7.0, 3.0))"""

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
    """Card, citation and notebook of a new paper, with one example claim; they run and pass at once."""
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
    """Write papers/<slug>/paper.toml, its citation and notebooks/<slug>.ipynb under `root`; returns the three.

    Raises:
        ValueError: for a slug that is not lower-case words joined by hyphens, or one of which a file exists.
    """
    _refuse_odd(slug)
    title = " ".join((title or slug.replace("-", " ").capitalize()).split())
    year, folder = date.today().year, root / "papers" / slug
    notebook = root / "notebooks" / f"{slug}.ipynb"
    for path in (folder, notebook):
        if path.exists():
            raise ValueError(f"{slug}: {path.relative_to(root)} exists already; choose another slug")
    quoted = title.replace("\\", "\\\\").replace('"', '\\"')
    folder.mkdir(parents=True)
    card, citation = folder / "paper.toml", folder / "citation.bib"
    card.write_text(CARD.format(slug=slug, title=quoted, year=year), encoding="utf-8")
    citation.write_text(CITATION.format(key=slug.replace("-", ""), title=title, year=year), encoding="utf-8")
    _write(notebook, _paper_cells(slug, title, year))
    parameters_cell.write(notebook, loading.read(card).parameters)
    return [card, citation, notebook]


def scaffold_analysis(root: Path, name: str | None = None, source: str | None = None) -> Path:
    """Write a notebook under `root`/scratch and return its path: a copy of a paper's, or a short example.

    Raises:
        ValueError: for an odd name, one that is taken, or a paper without notebook.
    """
    if name is not None:
        _refuse_odd(name)
    folder = root / "scratch"
    target = _free(folder, source or "analysis") if name is None else folder / f"{name}.ipynb"
    if target.exists():
        raise ValueError(f"{target.relative_to(root)} exists already; choose another name")
    if source is None:
        _write(target, [_text(f"# {target.stem}"), _code(ANALYSIS), _code(_EXAMPLE)])
        return target
    from workbench.batch import papers

    original = papers.notebook_of(source)
    if not original.is_file():
        raise ValueError(f"{source} has a card but no notebook yet; `workbench list` shows which have")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, target)
    return target


def _paper_cells(slug: str, title: str, year: int) -> list[Any]:
    return [
        _text(f"# {title}\n\nA. Author, *{title}*, {year}.\n\nThe question, the answer, why a practitioner cares."),
        _code("", "parameters"),
        _code(_OPENING.format(slug=slug)),
        _text(
            "## The loss falls\n\nOn a quadratic with eigenvalues $\\lambda$ every eigendirection shrinks by "
            "$|1-\\alpha\\lambda|$ per step, so after $T$ steps the loss is at most "
            "$\\max_\\lambda|1-\\alpha\\lambda|^{2T}$ times that at the start."
        ),
        _code(_MEASURE),
        _code(_FIGURE),
        _code(_CHECK, "nbval-check-output"),
        _text("## Explorer"),
        _code(_EXPLORER),
        _text("## Scoreboard"),
        _code("card.scoreboard()", "nbval-check-output"),
    ]


def _root() -> Path:
    from workbench.batch import papers

    return papers.root()


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _refuse_odd(slug: str) -> None:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
        raise ValueError(f"{slug!r}: must be lower-case words joined by hyphens, such as 'sharp-minima'")


def _free(folder: Path, name: str) -> Path:
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(path for one in names if not (path := folder / f"{one}.ipynb").exists())


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
