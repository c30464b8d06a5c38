"""The gradient of a loss at one point as a map on vectors: Hessian products by the fastest way that has been proven."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.curvature.flat import pullback, scalar
from workbench.curvature.recorded import Recorded
from workbench.parameters import Parameters

from .differences import contradiction, probe
from .door import Door
from .graph import Graph
from .operations import ExactOperations, plain_kernels
from .refusals import in_words
from .traffic import Traffic

_OPERATION_BYTES = 384 * 2**10
"""What an operation on a block of vectors should move on average. Less, and torch's own cost of an operation counts; more, and
a block leaves the caches and is slower than one vector after the other. Chosen from timings of four of the networks of
`benchmarks.bench_products`, at 3 to 1,000 samples, on one core; the table there shows what comes of it."""
_ACCELERATOR = 256
"""How many times more an operation should move on a GPU, where starting one costs more (a guess; not measured)."""
_FEWEST = 4
"""Products that are worth a transform, or a recording."""
_KNOWN = 0.5
"""Share of the values below which recorded operations have nothing to gain (an LSTM is one operation to torch)."""


class Linearised:
    """The gradient of a loss at one point as a map on vectors.

    By plain double backward, whose graph is kept. Where operations are small, blocks of vectors go through a transform
    together. Where they are large, the recorded operations of one evaluation serve instead, once a few products are wanted.
    What decides is fixed by the sizes of the operations and by how many products were asked for; no clock. Both are used only
    after one product has been compared with double backward.
    """

    def __init__(self, door: Door, purpose: str = "the Hessian") -> None:
        self.door, self.purpose = door, purpose
        self._kind = ("blocks", door.flat.numel(), door.flat.dtype, door.flat.device)
        self._asked = 0
        if door.plain and self._kind not in door.facts:
            _ = self._tape

    @property
    def gradient(self) -> Tensor:
        if not self.door.plain:
            return self._function[0]
        recorded = self.__dict__.get("_recorded")
        return self._tape[1].detach() if recorded is None else recorded.gradient

    def product(self, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        """The Hessian times one vector."""
        if not self.door.plain:
            return self._function[1](vector)[0]
        self._asked += 1
        size = self._together
        if size is None and self._asked >= _FEWEST:
            return self._measured(vector)
        if size is not None and (size == 0 or (size < _FEWEST and self._asked >= _FEWEST)):
            return self._one_by_one(vector[None])[0]
        return self._backward(vector)

    def block(self, vectors: Float[Tensor, "k parameter"]) -> Float[Tensor, "k parameter"]:
        """The Hessian times every row, by the fastest way that has been proven."""
        if not self.door.plain:
            return torch.func.vmap(self.product)(vectors)
        if len(vectors) < _FEWEST:
            return torch.stack([self.product(vector) for vector in vectors]) if len(vectors) else vectors
        self._asked += len(vectors)
        if self._together is None:
            self._measured(vectors[0])
        size, known = self.door.facts[self._kind]
        ways = {"transform": self._by_transform, "batched": self._by_batched_backward, "loop": self._one_by_one}
        for name, way in ways.items():
            if name != known if known else name != "loop" and size < _FEWEST:
                continue
            try:
                result = way(vectors) if name == "loop" else torch.cat([way(part) for part in vectors.split(size)])
            # pyrefly: ignore[unreachable-except-clause]
            except (RuntimeError, NotImplementedError, ValueError) as error:
                if name == "loop" or known or isinstance(error, torch.OutOfMemoryError):
                    raise
                continue
            if known or name == "loop" or same_map(result, vectors, self._backward):
                self.door.facts[self._kind] = size, name
                return result
        raise AssertionError("a loop always answers")

    @property
    def _together(self) -> int | None:
        """How many vectors to multiply at once, if that is known."""
        known = self.door.facts.get(self._kind)
        return None if known is None else known[0]

    def _measured(self, vector: Tensor) -> Tensor:
        """One product, and from what it moves how many to make at once."""
        with Traffic() as traffic:
            product = self._backward(vector)
        room = _OPERATION_BYTES * traffic.operations * (1 if vector.is_cpu else _ACCELERATOR)
        size = room // max(1, traffic.bytes) if traffic.operations else 1
        self.door.facts[self._kind] = size, "loop" if size < _FEWEST else None
        return product

    def _one_by_one(self, vectors: Tensor) -> Tensor:
        recorded = self._recorded
        product = self._backward if recorded is None else recorded.product
        return torch.stack([product(vector) for vector in vectors])

    @cached_property
    def _recorded(self) -> Recorded | None:
        """The recorded operations, if they are proven to have this Hessian: once for every list of operations."""
        door, proofs = self.door, self.door.facts.setdefault(("recorded", *self._kind), {})
        parts = door.unflatten(door.flat.detach())
        names = list(parts) if isinstance(parts, dict) else []
        leaves = [entry.clone().requires_grad_() for entry in (parts.values() if isinstance(parts, dict) else [parts])]

        def loss(leaves: list[Tensor]) -> Tensor:
            return scalar(door.loss(dict(zip(names, leaves, strict=True)) if names else leaves[0]))

        if proofs.get(None) is False:
            return None
        try:
            with door.open():
                recorded = Recorded(loss, leaves)
                if recorded.known < _KNOWN:
                    proofs.setdefault(recorded.operations, False)
                if recorded.operations not in proofs:
                    direction = probe(door.flat)
                    right = agree(recorded.product(direction), self._backward(direction))
                    proofs[recorded.operations] = right and agree(recorded.gradient, self._tape[1].detach())
        except Exception:  # whatever a model does that a list of operations does not say, or no memory for its values
            proofs.setdefault(None, bool(proofs))
            return None
        if not proofs[recorded.operations]:
            return None
        self.__dict__.pop("_tape", None)
        return recorded

    @cached_property
    def _tape(self) -> tuple[Tensor, Tensor, bool, Parameters]:
        """Leaf, gradient with its graph, whether operations with exact derivatives took the
        place of torch's; and the leaf as the tensors at which the loss was evaluated."""
        door = self.door
        leaf = door.flat.detach().requires_grad_()
        with door.open(), torch.enable_grad(), self._words():
            value, tensors = door.record(door.loss, leaf)
            graph = Graph(value, leaf)
            graph.require_dependence()
            door.refuse_other_parameters(graph.others)
            exact = graph.needs_exact_operations
            if exact:
                with ExactOperations():
                    value, tensors = door.record(door.loss, leaf)
            with door.deriving(tensors), ExactOperations() if exact else contextlib.nullcontext():
                (gradient,) = torch.autograd.grad(
                    value, leaf, create_graph=True, materialize_grads=True, allow_unused=True
                )
        with self._words():
            door.require_true_gradient(gradient.detach(), leaf.detach(), names=graph.unproven)
        if graph.unproven and "second" not in door.facts:
            self.__dict__["_tape"] = leaf, gradient, exact, tensors
            _require_second_derivative(door, self._backward, graph.unproven)
            door.facts["second"] = True
        return leaf, gradient, exact, tensors

    @cached_property
    def _function(self) -> tuple[Tensor, Callable]:
        door = self.door
        exact = self._tape[2] if door.plain else _weight_normed(door.models)
        mode = ExactOperations() if exact else contextlib.nullcontext()
        if not door.plain:
            refuse_scripted(door.models)
        with door.open(), mode, self._words():
            return pullback(torch.func.grad(door.evaluate), door.flat)

    def _words(self) -> contextlib.AbstractContextManager:
        return in_words(self.purpose, self.door.models, lambda: self.door.evaluate(self.door.flat.detach()))

    def _backward(self, vector: Tensor, batched: bool = False) -> Tensor:
        leaf, gradient, _, tensors = self._tape
        if not gradient.requires_grad:
            return torch.zeros_like(vector)
        # Layers that compute their forward pass again need the point, and the kernels, in place.
        exact = ExactOperations() if self._tape[2] else contextlib.nullcontext()
        with plain_kernels(), self.door.deriving(tensors), exact, self._words():
            (product,) = torch.autograd.grad(
                gradient, leaf, vector, retain_graph=True, is_grads_batched=batched, allow_unused=True
            )
        return torch.zeros_like(vector) if product is None else product

    def _by_transform(self, vectors: Tensor) -> Tensor:
        pull = self._function[1]
        return torch.func.vmap(lambda vector: pull(vector)[0])(vectors)

    def _by_batched_backward(self, vectors: Tensor) -> Tensor:
        return self._backward(vectors, batched=True)


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same but for rounding: the proof that a faster way is right."""
    scale = other.abs().amax()
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * scale
    return bool(((one - other).abs() <= tolerance).all()) or bool(one.isnan().any() and other.isnan().any())


def same_map(products: Tensor, vectors: Tensor, product: Callable[[Tensor], Tensor]) -> bool:
    """Whether `products` are `product` of every row of `vectors`: by one more, of a combination of all rows. (A single row may
    be one to which what is wrong does not contribute.)
    """
    mixture = probe(vectors[:, 0])
    return agree(mixture @ products, product(mixture @ vectors))


def _require_second_derivative(door: Door, product: Callable[[Tensor], Tensor], names: tuple[str, ...]) -> None:
    """Compare one product with differences of gradients, for graphs with nodes that torch does not vouch for.

    Raises:
        ValueError: the second derivative is wrong: differences of two step sizes agree with each other and not with it.
    """
    flat = door.flat.detach()
    direction = probe(flat)

    def gradient(point: Tensor) -> Tensor:
        with door.open():
            return door.gradient_and_value(point)[0]

    gap = contradiction(product(direction), gradient, flat, direction)
    if gap is not None:
        raise ValueError(
            f"the second derivative through {', '.join(names)} is wrong: a Hessian-vector product differs from central "
            f"differences of the gradient by {gap:.2g}. Its backward pass is not differentiable (it detaches, or calls "
            "autograd without create_graph=True); write it in differentiable torch operations."
        )


def _weight_normed(models: list[nn.Module]) -> bool:
    return any(
        "weight_g" in module._parameters or torch.nn.utils.parametrize.is_parametrized(module)
        for model in models
        for module in model.modules()
    )


def refuse_scripted(models: list[nn.Module]) -> None:
    """Refuse modules that call TorchScript functions where torch.func would differentiate them twice.

    Raises:
        ValueError: with the module's name.
    """
    for model in models:
        for path, module in model.named_modules():
            if any(
                isinstance(entry, (torch.jit.ScriptFunction, torch.jit.ScriptModule)) for entry in vars(module).values()
            ):
                raise ValueError(
                    f"{path or 'the model'} ({type(module).__name__}) calls a torch.jit.script function (TorchScript), whose "
                    "second derivative torch.func computes wrongly; call curvature functions outside torch.func.vmap and "
                    "sweeps, or use the Python function"
                )
