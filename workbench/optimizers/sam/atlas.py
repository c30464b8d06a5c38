"""The atlas: what is known of every sharpness-aware rule, written beside its constructor, and one table of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Mark = Literal["", "abstract", "recalled"]

Constructor = TypeVar("Constructor", bound=Callable[..., Any])


@dataclass(frozen=True)
class Row:
    """What the table says of one rule.

    g is the minibatch gradient, H the Hessian, u(v) = v/|v|, gs = g(x + rho u(g)), a = step_size times the eigenvalue,
    X the amplitude of the 2-cycle on a quadratic.
    """

    paper: str
    """arXiv id or venue."""
    equation: str
    """g~, or the step."""
    cost: str
    """Gradients of one minibatch per step."""
    asks: str = ""
    """What it asks for beside gradients."""
    code: str = ""
    """Where the authors' public code departs from the paper's equation, for all that was read of it."""
    quadratics: str = ""
    invariance: str = ""
    """R: rotations of the parameters; L: f -> cf with step_size -> step_size/c. All rules are unchanged by f -> f + const."""
    mark: Mark = ""
    """Where the equation was not compared with the authors' code: known from an abstract or summary, or from memory."""


ROWS: dict[str, Row] = {}
"""By the constructor's name."""
_FOLDERS: dict[str, str] = {}


def listed(row: Row) -> Callable[[Constructor], Constructor]:
    """Give a constructor its row of the atlas."""

    def keep(function: Constructor) -> Constructor:
        ROWS[function.__name__] = row
        parts = function.__module__.split(".sam.")[-1].split(".")
        _FOLDERS[function.__name__] = parts[0] if len(parts) > 1 else ""
        return function

    return keep


COLUMNS = ("rule", "paper", "step", "gradients", "asks for", "authors' code departs", "on quadratics", "kept by")


COMPOSITIONS = {
    "sam+adam": Row(
        paper="2303.00565",
        equation="Adam on gs: `adam(step_size, gradient=UnifiedSAM(rho))`",
        cost="2",
        quadratics="the preconditioner adapts",
    ),
    "sam+muon": Row(
        paper="",
        equation="Muon on gs: `muon(step_size, gradient=UnifiedSAM(rho))`",
        cost="2",
        asks="shapes of tensors",
        quadratics="fixed step length",
        invariance="R per side",
    ),
}
"""Two bases around SAM; the others (heavy ball, Nesterov) are arguments of every constructor."""


def table() -> list[tuple[str, ...]]:
    """One line a rule, as text, under `COLUMNS`: those beside SAM first, then by idea."""
    words = {"": "", "abstract": " **[ABS]**", "recalled": " **[RECALLED]**"}
    return [
        (name, row.paper, row.equation + words[row.mark], row.cost, row.asks, row.code, row.quadratics, row.invariance)
        for name, row in {**dict(sorted(ROWS.items(), key=lambda item: _place(item[0]))), **COMPOSITIONS}.items()
    ]


def _place(name: str) -> tuple[bool, str, bool, str]:
    """SAM and the other single displacements, then the folders' names, then the rules'."""
    folder = _FOLDERS[name]
    return (folder != "", folder, name != "sam", name)


def as_markdown() -> str:
    """The table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [(f"`{name}`", *(cell.replace("|", "\\|") for cell in rest)) for name, *rest in table()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
