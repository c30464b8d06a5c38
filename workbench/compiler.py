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
            store_pooled_places(graph)

        def uuid(self) -> str:
            return "workbench: scaled sums spelled out, places of maxima stored, 1"

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


def store_pooled_places(graph: fx.Graph) -> None:
    """Store where the maximum of each pooling window was, for the gradient, instead of finding it again, in place.

    Which of the two inductor does on a CPU depends on what stands beside it (torch 2.13); m-SAM steps of a CNN are 3 %
    faster with the places stored.
    """
    find = getattr(torch.ops.prims, "_low_memory_max_pool_offsets_to_indices", None)
    for node in graph.find_nodes(op="call_function", target=find.default) if find is not None else ():
        places = node.args[0]
        value = places.meta["val"]
        known = all(isinstance(side, int) for side in value.shape[1:])
        if not known or value.dim() != 4 or value.device.type != "cpu":
            continue
        # Channels last, as inductor lays out images on a CPU.
        _, channels, high, wide = value.shape
        strides = [high * wide * channels, 1, wide * channels, channels]
        with graph.inserting_before(node):
            stored = graph.call_function(torch.ops.prims.inductor_force_stride_order.default, (places, strides))
        stored.meta["val"] = value
        node.replace_input_with(places, stored)
