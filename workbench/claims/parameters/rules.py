"""Relations between parameters as a card writes them: `n < d`, `all(n % m == 0 for m in group_sizes)`."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

FUNCTIONS = {
    "abs": abs,
    "all": all,
    "any": any,
    "float": float,
    "int": int,
    "isinstance_number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "len": len,
    "max": max,
    "min": min,
    "round": round,
    "set": set,
    "sorted": sorted,
    "sum": sum,
    "ceil": math.ceil,
    "comb": math.comb,
    "floor": math.floor,
    "log": math.log,
    "sqrt": math.sqrt,
}
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.boolop,
    ast.BinOp,
    ast.operator,
    ast.UnaryOp,
    ast.unaryop,
    ast.Compare,
    ast.cmpop,
    ast.Call,
    ast.Constant,
    ast.IfExp,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Subscript,
    ast.Slice,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Name,
    ast.expr_context,
)


def problem(text: str, known: Mapping[str, Any] | set[str]) -> str | None:
    """Why an expression cannot be used, or None."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        return f"{text!r} is not an expression ({error.msg})"
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            return f"{text!r}: {type(node).__name__} is not allowed; use parameters, numbers, comparisons, and, or, not"
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
            return f"{text!r}: may only call {', '.join(FUNCTIONS)}"
        if isinstance(node, ast.Name) and node.id not in known and node.id not in FUNCTIONS and node.id not in bound:
            return f"{text!r}: there is no parameter {node.id!r}"
    return None


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression that `problem` has passed."""
    return eval(compile(ast.parse(text, mode="eval"), "<card>", "eval"), {"__builtins__": {}, **FUNCTIONS, **values})


def names(text: str) -> set[str]:
    """The parameters an expression speaks of."""
    found = {node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    return found - set(FUNCTIONS)
