"""What every use of torch's compiler here shares: whether it can work, and a mistake of it kept away."""

from __future__ import annotations

import functools
import logging
import shutil
from typing import Any

import torch
from torch import fx

log = logging.getLogger("workbench")

_ATEN = torch.ops.aten


@functools.cache
def compiler_found() -> bool:
    """Whether a C++ compiler is at hand; the first time there is none, one log line says so."""
    found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    if not found:
        log.warning("no C++ compiler found: going on without compiled code")
    return found


def inductor_options() -> dict[str, Any]:
    """Options for `torch.compile` and `torch._inductor.compile`.

    Inductor takes `torch.add(x, a @ b, alpha=c)` for `x + a @ b`: the step of a gradient method on a weight matrix, with
    the step size lost (torch 2.13, and no warning). Scaled sums are spelled out before it can.
    """
    # Imported when something is compiled: the compiler takes seconds to import.
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class SpellOut(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            spell_out_scaled_sums(graph)

        def uuid(self) -> str:
            return "workbench: scaled sums spelled out, 1"

    return {"post_grad_custom_pre_pass": SpellOut()}


def spell_out_scaled_sums(graph: fx.Graph) -> None:
    """x + alpha y as a product and a sum, in place."""
    for node in graph.find_nodes(op="call_function", target=_ATEN.add.Tensor):
        alpha = node.kwargs.get("alpha", 1)
        if alpha == 1:
            continue
        x, y = node.args
        with graph.inserting_before(node):
            scaled = graph.call_function(_ATEN.mul.Tensor, (y, alpha))
            total = graph.call_function(_ATEN.add.Tensor, (x, scaled))
        if isinstance(y, fx.Node) and "val" in y.meta:
            scaled.meta["val"] = y.meta["val"] * alpha
        total.meta = dict(node.meta)
        node.replace_all_uses_with(total)
        graph.erase_node(node)
