"""Gated sections of a notebook: a cell whose first statement is `card.section("claim-a", "claim-b")` runs only where one
of these claims is measured under the preset, parameters and control in force; else the whole cell is skipped.

The kernel does it: a transformer of IPython empties such a cell before it runs. So it works alike in JupyterLab, nbconvert,
papermill and nbval, and no cell needs an `if`. Outside IPython `section` only returns the answer.
"""

from __future__ import annotations

import ast
from typing import Any


class Gate:
    """Drops the statements of a cell that opens with a `section` call whose answer is no."""

    def __init__(self, shell: Any):
        self.shell = shell

    def visit(self, module: ast.Module) -> ast.Module:
        call = module.body[0].value if module.body and isinstance(module.body[0], ast.Expr) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "section"):
            return module
        try:
            answer = eval(compile(ast.Expression(call), "<section>", "eval"), self.shell.user_ns)
        except Exception:
            return module  # the cell runs into the same error, where the reader sees it
        module.body = module.body[1:] if answer is True else [] if answer is False else module.body
        return module


def install() -> None:
    """Register the gate in the running kernel, once; nothing outside IPython."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and not any(type(one).__name__ == "Gate" for one in shell.ast_transformers):
        shell.ast_transformers.append(Gate(shell))  # type: ignore[arg-type]  # IPython only calls visit
