"""The one way to a user's loss: its value, gradient and Hessian products at a point.

Two engines. Plain `torch.autograd` is right wherever torch is, runs every module, and leaves no wrapped tensor behind.
`torch.func` multiplies blocks of vectors faster and is the only one under transforms (in sweeps); outside them it is used only
after one of its rows has been compared with the plain engine's.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.curvature.flat import flat_loss, flatten, pullback, scalar
from workbench.parameters import Parameters

from .differences import contradiction, probe
from .graph import Graph
from .operations import ExactOperations, plain_kernels
from .refusals import in_words
from .substitution import Places, modules_of, untouched

_FACTS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def facts(loss: Any) -> dict[Any, Any]:
    """What has been proven about a loss so far; forgotten with it, or at once where it cannot be remembered."""
    owner, name = getattr(loss, "__self__", loss), getattr(loss, "__name__", "") if hasattr(loss, "__self__") else ""
    try:
        return _FACTS.setdefault(owner, {}).setdefault(name, {})
    except TypeError:
        return {}


def transformed() -> bool:
    """Whether this runs inside a transform of torch.func or is being compiled."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling()


class Door:
    """A loss around one point of its parameters.

    The loss is the function it is: what it reads beside its parameters is constant. But while a derivative is taken the model
    that it reaches holds the evaluated parameters (those of its names), for layers that run again then.
    """

    def __init__(
        self, loss: Callable[..., Tensor], parameters: Parameters, owner: Callable[..., Tensor] | None = None
    ) -> None:
        """`owner` is what proofs about the loss are remembered for, where the loss itself is made anew each time."""
        self.flat, self.unflatten = flatten(parameters)
        self.loss = loss
        self.evaluate = flat_loss(loss, self.unflatten)
        self.facts = facts(owner or loss)
        self._host: tuple[nn.Module, Places] | None = None
        # An empirical loss restores its own model after every evaluation.
        empirical: Any = getattr(loss, "__self__", loss)
        own = getattr(empirical, "places", None)
        if isinstance(own, Places):
            self.models: list[nn.Module] = self.facts.get("models") or modules_of(loss)
            self.facts["models"] = self.models
            self._others = [model for model in self.models if model is not empirical.model]
            self._host = empirical.model, own
            return
        self.models = self._others = [] if torch.compiler.is_compiling() else modules_of(loss)
        names = parameters.keys() if isinstance(parameters, dict) else set()
        for model in self.models if names else ():
            if not any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
                places = Places(model)
                if names <= places.names():
                    self._host = model, places
                    break

    @property
    def plain(self) -> bool:
        """Whether torch.autograd serves: no transform is active and nobody differentiates through the parameters."""
        return not transformed() and not self.flat.requires_grad

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Around everything that evaluates the loss: kernels with all derivatives; the models are left as they were."""
        with untouched(*self._others), plain_kernels():
            yield

    def deriving(self, tensors: Parameters) -> contextlib.AbstractContextManager:
        """Around a derivative with respect to these very tensors, at which the loss has been evaluated."""
        if self._host is None or not isinstance(tensors, dict):
            return contextlib.nullcontext()
        return self._host[1].holding(tensors)

    def record(self, loss: Callable[[Parameters], Tensor], leaf: Tensor) -> tuple[Tensor, Parameters]:
        """The loss at a leaf, and the tensors that the model held meanwhile (a rescaled loss has its parameters elsewhere)."""
        tensors = self.unflatten(leaf)
        position = getattr(loss, "position", None)
        if position is None:
            return scalar(loss(tensors)), tensors
        tensors = position(tensors)
        return scalar(loss.loss(tensors)), tensors  # pyrefly: ignore[missing-attribute]

    def gradient_and_value(self, vector: Float[Tensor, " parameter"]) -> tuple[Tensor, Tensor]:
        """Gradient and loss, detached; under transforms by torch.func."""
        if transformed() or vector.requires_grad:
            return torch.func.grad_and_value(self.evaluate)(vector)
        return self.derivative(self.loss, vector)

    def derivative(self, loss: Callable[[Parameters], Tensor], vector: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a part of the loss (of one sample), by plain autograd.

        Raises:
            ValueError: the derivative through a hand-written function is not that of its values.
        """
        leaf = vector.detach().clone().requires_grad_()
        with torch.enable_grad():
            value, tensors = self.record(loss, leaf)
            if not value.requires_grad:
                return torch.zeros_like(leaf), value
            written = () if self.facts.get("first") else Graph(value, leaf).unproven
            with self.deriving(tensors):
                (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)
        if not self.facts.get("first"):
            if written:
                self._require_first_derivative(loss, leaf.detach(), gradient, written)
            self.facts["first"] = True
        return gradient, value.detach()

    def _require_first_derivative(
        self, loss: Callable, point: Tensor, gradient: Tensor, names: tuple[str, ...]
    ) -> None:
        direction = probe(point)

        def value(at: Tensor) -> Tensor:
            with torch.no_grad():
                return scalar(loss(self.unflatten(at)))

        gap = contradiction(gradient @ direction, value, point, direction)
        if gap is not None:
            raise ValueError(
                f"the derivative through {', '.join(names)} is wrong: it differs from central differences of the loss by "
                f"{gap:.2g} (its backward pass returns something else, or runs the model again with other parameters)"
            )

    def refuse_other_parameters(self, leaves: set[Tensor]) -> None:
        """Refuse a loss that reads from the model itself one of the parameters that it is given.

        Raises:
            ValueError: the derivative would miss what it reads there.
        """
        if self._host is None:
            return
        model, given = self._host[0], self.unflatten(self.flat)
        read = [name for name, entry in model.named_parameters() if name in given and entry in leaves]
        if read:
            raise ValueError(
                f"the loss reads parameters {read[:6]} from the model itself beside those it is given, so derivatives would miss "
                "what depends on them there; use the given ones, or make the loss with empirical_loss(model, loss_function, "
                "inputs, targets), which evaluates both with the same parameters"
            )

    def require_deterministic(self, evaluate: Callable[[Tensor], Tensor] | None = None) -> None:
        """Refuse a loss that is random, or drifts from call to call; found out once, by two more evaluations.

        Raises:
            ValueError: two evaluations at the same parameters differ, by more than their rounding.
        """
        if transformed() or self.facts.get("deterministic"):
            return
        evaluate = evaluate or self.evaluate
        with self.open(), torch.no_grad():
            first, second = evaluate(self.flat), evaluate(self.flat)
        gap, scale = float((first - second).abs()), float(torch.maximum(first.abs(), second.abs()))
        if gap > 100 * torch.finfo(first.dtype).eps * scale:
            raise ValueError(
                f"the loss is not deterministic: two evaluations at the same parameters differ by {gap:.3g}. "
                "Remove the randomness first (model.eval() for dropout and BatchNorm, noise as fixed data, a loader that "
                "neither augments nor drops shuffled samples)."
            )
        self.facts["deterministic"] = True


class Linearised:
    """The gradient of a loss at one point as a map on vectors."""

    def __init__(self, door: Door, purpose: str = "the Hessian") -> None:
        self.door, self.purpose = door, purpose
        self._kind = ("blocks", door.flat.numel(), door.flat.dtype, door.flat.device)
        if door.plain and self._kind not in door.facts:
            _ = self._tape

    @property
    def gradient(self) -> Tensor:
        if self.door.plain:
            return self._tape[1].detach()
        return self._function[0]

    def product(self, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        """The Hessian times one vector."""
        if not self.door.plain:
            return self._function[1](vector)[0]
        return self._backward(vector)

    def block(self, vectors: Float[Tensor, "k parameter"]) -> Float[Tensor, "k parameter"]:
        """The Hessian times every row, by the fastest way that has been proven."""
        if not self.door.plain:
            return torch.func.vmap(self.product)(vectors)
        ways = {"transform": self._by_transform, "batched": self._by_batched_backward, "loop": self._by_loop}
        known = self.door.facts.get(self._kind)
        if (known is not None and known != "transform") or len(vectors) == 0:
            return ways[known or "loop"](vectors)
        if known is not None:
            return self._by_transform(vectors)
        for name, way in ways.items():
            try:
                result = way(vectors)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                if name == "loop" or isinstance(error, torch.OutOfMemoryError):
                    raise
                continue
            if name == "loop" or agree(result[0], self._backward(vectors[0])):
                self.door.facts[self._kind] = name
                return result
        raise AssertionError("a loop always answers")

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
            with door.deriving(tensors):
                (gradient,) = torch.autograd.grad(
                    value, leaf, create_graph=True, materialize_grads=True, allow_unused=True
                )
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
        with plain_kernels(), self.door.deriving(tensors), self._words():
            (product,) = torch.autograd.grad(
                gradient, leaf, vector, retain_graph=True, is_grads_batched=batched, allow_unused=True
            )
        return torch.zeros_like(vector) if product is None else product

    def _by_transform(self, vectors: Tensor) -> Tensor:
        pull = self._function[1]
        return torch.func.vmap(lambda vector: pull(vector)[0])(vectors)

    def _by_batched_backward(self, vectors: Tensor) -> Tensor:
        return self._backward(vectors, batched=True)

    def _by_loop(self, vectors: Tensor) -> Tensor:
        return torch.stack([self._backward(vector) for vector in vectors])


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same but for rounding: the proof that a faster way is right."""
    scale = other.abs().amax()
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * scale
    return bool(((one - other).abs() <= tolerance).all()) or bool(one.isnan().any() and other.isnan().any())


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
