"""The one way to a user's loss: its value, gradient and Hessian products at a point.

Two engines. Plain `torch.autograd` is right wherever torch is, runs every module, and leaves no wrapped tensor behind.
`torch.func` multiplies blocks of vectors faster and is the only one under transforms (in sweeps); outside them it is used only
after one of its rows has been compared with the plain engine's.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.curvature.flat import flat_loss, flatten, scalar
from workbench.parameters import Parameters

from .differences import contradiction, probe
from .graph import Graph
from .operations import plain_kernels
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


def _host(model: nn.Module, names: Collection[str]) -> nn.Module | None:
    """The model, or the first module inside (a likelihood may hold the model that it is for), with parameters of these names."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return None
    first = next(iter(names))
    for module in model.modules():
        if _reaches(module, first) and all(_reaches(module, name) for name in names):
            return module
    return None


def _reaches(module: Any, name: str) -> bool:
    *path, last = name.split(".")
    for part in path:
        module = module._modules.get(part) if isinstance(module, nn.Module) else None
    return isinstance(module, nn.Module) and (last in module._parameters or last in module._buffers)


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
        self._warned = False
        # An empirical loss restores its own model after every evaluation.
        empirical: Any = getattr(loss, "__self__", loss)
        own = getattr(empirical, "places", None)
        if isinstance(own, Places):
            self.models: list[nn.Module] = self.facts.get("models") or modules_of(loss)
            self.facts["models"] = self.models
            self._others = [model for model in self.models if model is not empirical.model]
            self._host = empirical.model, own
            self._warned = True
            return
        self.models = self._others = [] if torch.compiler.is_compiling() else modules_of(loss)
        names = parameters.keys() if isinstance(parameters, dict) else set()
        for model in self.models if names else ():
            host = _host(model, names)
            if host is not None:
                self._host = host, Places(host)
                break

    @property
    def plain(self) -> bool:
        """Whether torch.autograd serves: no transform is active and nobody differentiates through the parameters."""
        return not transformed() and not self.flat.requires_grad

    # pyrefly: ignore[deprecated]
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
                self.require_true_gradient(gradient, leaf.detach(), loss, written)
            self.facts["first"] = True
        return gradient, value.detach()

    def require_true_gradient(
        self,
        gradient: Tensor,
        point: Tensor,
        loss: Callable[[Parameters], Tensor] | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        """Compare the gradient (of a part of the loss) at a point, where it is not 0, with differences of the values, once for a
        loss.

        Raises:
            ValueError: it is the gradient of something else: part of the loss is detached, a hook changes it, or the backward
                pass of a function (of these `names`) is not its derivative.
        """
        if self.facts.get("true"):
            return

        def value(at: Tensor) -> Tensor:
            with torch.no_grad():
                return scalar((loss or self.loss)(self.unflatten(at)))

        def gap(direction: Tensor) -> float | None:
            with self.open():
                return contradiction(gradient @ direction, value, point, direction)

        # Where some of a parameter's gradient is exactly 0 (padding rows) the loss counts as constant.
        direction = torch.where(gradient != 0, probe(point), 0.0)
        found = gap(direction)
        if found is None:
            self._refuse_unseen(gradient, gap)
            self.facts["true"] = True
            return
        if names:
            raise ValueError(
                f"the derivative through {', '.join(names)} is wrong: it differs from central differences of the loss by "
                f"{found:.2g} (its backward pass returns something else, or runs the model again with other parameters)"
            )
        where = self._names(lambda part: gap(torch.where(part, direction, 0.0)) is not None)
        raise ValueError(
            f"the gradient of this loss is not the derivative of its values{where}: along a direction it differs from central "
            f"differences by {found:.2g}. Part of it is detached (detach(), .data, torch.no_grad(), a straight-through "
            "estimator), or a hook changes it, so its curvature is that of no function; write the loss without that, or freeze "
            "(requires_grad_(False)) the parameters that are only read there."
        )

    def _refuse_unseen(self, gradient: Tensor, gap: Callable[[Tensor], float | None]) -> None:
        """Refuse parameters that change the loss although their gradient is 0 throughout; empirical losses warn of them."""
        if self._warned:
            return
        pieces = self.unflatten(gradient)
        pieces = list(pieces.values()) if isinstance(pieces, dict) else [pieces]
        constant = torch.cat([(~piece.any()).expand(piece.numel()) for piece in pieces])
        direction = torch.where(constant, probe(gradient), 0.0)
        if not bool(constant.any()) or gap(direction) is None:
            return
        where = self._names(
            lambda part: bool((part & constant).any()) and gap(torch.where(part, direction, 0.0)) is not None
        )
        raise ValueError(
            f"the loss changes with parameters of which it has no gradient{where}: they are read under torch.no_grad(), detached "
            "or by .data, and would count as constant; read them without that, or leave them out of the parameters given"
        )

    def _names(self, holds: Callable[[Tensor], bool]) -> str:
        """Of which parameters something holds that is tried on each one's entries."""
        parts = self.unflatten(torch.arange(self.flat.numel(), device=self.flat.device))
        if not isinstance(parts, dict):
            return ""
        numbers = torch.arange(self.flat.numel(), device=self.flat.device)
        found = [name for name, part in parts.items() if holds(torch.isin(numbers, part))]
        return f" in {', '.join(found[:6])}" if found else ""

    def refuse_other_parameters(self, leaves: set[Tensor]) -> None:
        """Refuse a loss that reads from the model itself one of the parameters that it is given.

        Raises:
            ValueError: the derivative would miss what it reads there.
        """
        if self._host is None or not leaves:
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
