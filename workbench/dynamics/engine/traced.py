"""Runs of some hundred steps: one step is traced into a list of plain tensor operations, which is then called again and again.

Under vmap every operation of every step goes through the transforms anew, which for small problems takes most of the time. A
traced step holds the same operations on the tensors of all runs, computes once what no step changes (powers of the data), and
leaves out views that change nothing. It lives as long as its run: what Python objects hold may differ the next time.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.dynamics.engine.compiled import NotTraceable, same

Function = Callable[..., tuple[Tensor, ...]]
_ATEN = torch.ops.aten
_VIEWS = (
    _ATEN.view.default,
    _ATEN._unsafe_view.default,
    _ATEN.expand.default,
    _ATEN.permute.default,
    _ATEN.alias.default,
)
# Torch's own functions of the same names, which do the same with a third less overhead.
_DIRECT = {
    _ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor, _ATEN.neg.default, _ATEN.sqrt.default,
    _ATEN.sin.default, _ATEN.relu.default, _ATEN.maximum.default, _ATEN.le.Scalar, _ATEN.bitwise_and.Tensor,
    _ATEN.where.self, _ATEN.amax.default, _ATEN.amin.default, _ATEN.sum.dim_IntList, _ATEN.bmm.default, _ATEN.stack.default,
    _ATEN.cat.default, _ATEN.unbind.int, _ATEN.select.int, _ATEN.permute.default, _ATEN.unsqueeze.default,
    _ATEN.squeeze.dims,
}  # fmt: skip


def differentiating(tensors: list[Tensor]) -> bool:
    """Whether someone differentiates through what is computed now: a traced step keeps no derivatives."""
    transforms = {interpreter.key() for interpreter in retrieve_all_functorch_interpreters()}
    if transforms - {torch._C._functorch.TransformType.Vmap} or forward_ad._current_level >= 0:
        return True
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


class Traced:
    """What one run has traced; to be handed to `advance` as `prepare`.

    Raises `NotTraceable`, or whatever the function raises, before the first step is taken.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Function, Function]] = {}

    def prepare(self, function: Function, key: Hashable, fixed: Sequence[Tensor], others: Sequence[Tensor]) -> Function:
        full_key = (key, tuple((tuple(leaf.shape), leaf.dtype) for leaf in (*fixed, *others)))
        if full_key not in self._known:
            self._known[full_key] = _traced(function, fixed, others)
        once, each = self._known[full_key]
        return functools.partial(each, *once(*fixed))


class _Recorder(TorchDispatchMode):
    """Writes down every operation on plain tensors, whatever transforms it went through before.

    Repetitions of an operation on the same tensors and views that change nothing are left out.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.nodes = {id(tensor): self.graph.placeholder(f"input{i}") for i, tensor in enumerate(inputs)}
        self.constants: list[tuple[fx.Node, Tensor]] = []
        # Whatever has been seen stays alive, so that its id stays its own.
        self._alive: list[Any] = [inputs]
        self._done: dict[str, fx.Node] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's hook: do not import the compiler in order to keep it away from here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = func
        known, named = fx.node.map_aggregate((args, kwargs or {}), self.node)  # type: ignore[misc]
        before = args[0] if args and isinstance(args[0], Tensor) else None
        layout = before is not None and (before.shape, before.stride())
        squeezed = operation is _ATEN.squeeze_.dims  # vmap squeezes its own intermediate results in place
        if not squeezed and (operation._schema.is_mutable or torch.Tag.nondeterministic_seeded in operation.tags):
            raise NotTraceable(f"the step writes in place or draws random numbers: {operation}")
        result = operation(*args, **(kwargs or {}))
        self._alive.append(result)
        operation = _ATEN.squeeze.dims if squeezed else operation
        if isinstance(result, Tensor):
            unchanged = operation in _VIEWS and layout == (result.shape, result.stride())
            self.nodes[id(result)] = known[0] if unchanged else self._call(operation, known, named)
        elif isinstance(result, (tuple, list)) and all(isinstance(part, Tensor) for part in result):
            node = self._call(operation, known, named)
            for i, part in enumerate(result):
                self.nodes[id(part)] = self._call(operator.getitem, (node, i), {})
        else:
            raise NotTraceable(f"the step looks at values: {operation}")
        return result

    def node(self, value: Any) -> Any:
        """The node of a tensor. One that comes from elsewhere is a constant."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self.nodes:
            with self.graph.inserting_before(next(iter(self.graph.nodes))):
                self.nodes[id(value)] = self.graph.placeholder(f"constant{len(self.constants)}")
            self.constants.append((self.nodes[id(value)], value))
            self._alive.append(value)
        return self.nodes[id(value)]

    def _call(self, operation: Any, args: Any, kwargs: Any) -> fx.Node:
        # A node prints as its name, which is unique in its graph.
        key = f"{operation}{args}{kwargs}"
        if key not in self._done:
            if operation in _DIRECT:
                operation = getattr(torch, operation._schema.name.removeprefix("aten::"))
            self._done[key] = self.graph.call_function(operation, args, kwargs)
        return self._done[key]


def _traced(function: Function, fixed: Sequence[Tensor], others: Sequence[Tensor]) -> tuple[Function, Function]:
    """`each(*once(*fixed), *others)` is `function(*fixed, *others)`; `others` begins with what the function returns."""
    # Two arguments may be the same tensor, and are told apart by aliases.
    arguments = [leaf.view(leaf.shape) for leaf in (*fixed, *others)]
    with _Recorder(arguments) as recorder:
        results = function(*arguments)
    if any((new.shape, new.dtype) != (old.shape, old.dtype) for new, old in zip(results, others, strict=False)):
        raise NotTraceable("the step changes the shape or type of what it carries along")
    if not all(map(same, results, function(*arguments))):
        raise NotTraceable("two calls of the step differ: something that it looks at is not among its tensors")
    recorder.graph.output(tuple(recorder.node(leaf) for leaf in results))
    recorder.graph.eliminate_dead_code()
    nodes = [recorder.nodes[id(leaf)] for leaf in arguments]
    return _split(recorder.graph, nodes[: len(fixed)], nodes[len(fixed) :], recorder.constants)


def _split(
    graph: fx.Graph, fixed: list[fx.Node], others: list[fx.Node], constants: list[tuple[fx.Node, Tensor]]
) -> tuple[Function, Function]:
    """Two functions: what depends on the fixed tensors and constants alone, and the rest."""
    nodes = list(graph.nodes)
    moving = {*others, nodes[-1]}
    for node in nodes:
        if any(argument in moving for argument in node.all_input_nodes):
            moving.add(node)
    border = [node for node in nodes if node not in moving and any(user in moving for user in node.users)]
    once, each = fx.Graph(), fx.Graph()
    early = {node: once.placeholder(node.name) for node in (*(node for node, _ in constants), *fixed)}
    late = {node: each.placeholder(node.name) for node in (*border, *others)}
    for node in nodes:
        if node.op != "placeholder":
            copied, known = (each, late) if node in moving else (once, early)
            known[node] = copied.node_copy(node, known.__getitem__)
    once.output(tuple(early[node] for node in border))
    return functools.partial(_executable(once), *(value for _, value in constants)), _executable(each)


def _executable(graph: fx.Graph) -> Function:
    # Not a GraphModule: torch keeps the source of each of those for ever.
    code = graph.python_code("self")
    scope = dict(code.globals)
    exec(code.src, scope)
    return functools.partial(scope["forward"], None)
