"""What the compiler does slowly on a CPU with a traced block of steps, done otherwise. Values change by rounding alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

_ATEN = torch.ops.aten


def rewrite_for_cpu(module: fx.GraphModule) -> None:
    """Both rewritings, in place."""
    _turn_narrow_products(module.graph)
    _replace_tanh(module.graph)
    module.recompile()


def _turn_narrow_products(graph: fx.Graph) -> None:
    """Batched products A B with few columns become (B^T A^T)^T.

    A network's outputs are the case that matters: ten classes against a hundred samples. CPU libraries cut the rows of a
    product into vector registers well and few columns badly: turned, such products take half to an eighth of the time.
    """
    for node in graph.find_nodes(op="call_function", target=_ATEN.bmm.default):
        rows, columns = node.meta["tensor_meta"].shape[-2:]
        # Measured in both precisions with 1 to 64 columns against 8 to 1,000 rows.
        if columns < min(rows, 16):
            with graph.inserting_before(node):
                left, right = (graph.call_function(_ATEN.permute.default, (side, [0, 2, 1])) for side in node.args)
                turned = graph.call_function(_ATEN.bmm.default, (right, left))
                node.replace_all_uses_with(graph.call_function(_ATEN.permute.default, (turned, [0, 2, 1])))
            graph.erase_node(node)


def _replace_tanh(graph: fx.Graph) -> None:
    for node in graph.find_nodes(op="call_function", target=_ATEN.tanh.default):
        with graph.inserting_before(node):
            node.replace_all_uses_with(tanh(fx.Proxy(node.args[0])).node)  # type: ignore[arg-type]
        graph.erase_node(node)


def tanh(x: Any) -> Any:
    """tanh, entry by entry, by one exponential: within 5 units in the last place, in half the time of the vectorised library.

    Below 1/2, where 1 - 2/(e^2x + 1) cancels, Lambert's continued fraction x/(1 + x^2/(3 + x^2/(5 + ...))) cut at 13.
    """
    s = x * x
    fraction = x * (135135 + s * (17325 + s * (378 + s))) / (135135 + s * (62370 + s * (3150 + s * 28)))
    return torch.where(x.abs() < 0.5, fraction, 1 - 2 / (torch.exp(2 * x) + 1))
