"""Fast ways to a module's gradients, by torch.func: groups of samples side by side, and steps that a compiler sees through.

They leave the module's own parameters alone, so that whatever looks at these (a loss with a penalty, a checkpoint, an adjoint
layer, hooks) is not seen. Hence each is compared once, per module, shapes and modes, with the gradient taken in the module.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from workbench.compiler import compiler_found, inductor_options
from workbench.optimizers.torch.minibatches import Batch
from workbench.optimizers.torch.packing import Packing
from workbench.optimizers.torch.passes import Passes


class Functional:
    """A module and its loss as functions of the packed parameters."""

    def __init__(self, module: torch.nn.Module, criterion: Callable[..., Tensor]) -> None:
        self.outer = module
        inner: Any = module.module if _is_replicated(module) else module
        self._module: torch.nn.Module = inner
        self._criterion = criterion
        self._names = {id(tensor): name for name, tensor in self._module.named_parameters()}
        self._tied = len([*self._module.named_parameters(remove_duplicate=False)]) > len(self._names)
        paths = [part for _, part in self._module.named_modules(remove_duplicate=False)]
        self._modules = list(dict.fromkeys(paths))
        # torch.func.functional_call does not put back the parameters of a module that is reached by two paths.
        self._shared = len(paths) > len(self._modules)
        self._verdicts: dict[Any, bool] = {}

    def value(self, packing: Packing, vector: Tensor, inputs: Any, targets: Any) -> Tensor:
        """The loss at packed parameters."""
        return self._value_of(packing)(packing.unpack(vector), inputs, targets)

    def groups(self, xs: Float[Tensor, "group parameter"], batches: Batch) -> tuple[Tensor, Tensor]:
        """The gradient of every group at its own parameters, and their losses. Only the forward passes go through vmap: under
        two transforms each operation would cost three times as much.
        """
        packing = self._packing
        leaves = [piece.detach().requires_grad_() for piece in packing.unpack(xs)]
        with torch.enable_grad():
            losses = torch.func.vmap(self._value_of(packing))(leaves, *batches)
            found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        return packing.pack(found, leading=1), losses.detach()

    def right_for_groups(
        self, batches: Batch, xs: Tensor, one_by_one: Callable[[Tensor, Batch], tuple[Tensor, Tensor]], passes: Passes
    ) -> bool:
        """Whether `groups` gives what the module itself gives, for two groups at two displaced points."""
        if self._shared or hooked(passes.packing.tensors):
            return False
        self._packing = passes.packing
        key = ("groups", self._key(batches), passes.packing.count)
        if key not in self._verdicts:
            points, two = wiggled(xs[:2]), tuple(part[:2] for part in batches)
            with passes.opened(changes_buffers=False):
                found = self._tried(lambda: self.groups(points, two)[0])
                self._verdicts[key] = found is not None and agree(found, one_by_one(points, two)[0])
        return self._verdicts[key]

    def right_for_steps(
        self, batch: Batch, x: Tensor, gradient: Callable[[Tensor], Tensor], passes: Passes, product: Callable | None
    ) -> bool:
        """Whether torch.func's gradient, and its product with the Hessian where `product` is given, are those taken in the
        module itself at a displaced point, and the same in two calls.
        """
        if self._shared or _is_replicated(self.outer) or hooked(passes.packing.tensors):
            return False
        key = ("steps", self._key(batch), passes.packing.count)
        if key not in self._verdicts:
            point, transforms = wiggled(x), Transforms(self, passes.packing)
            with passes.opened(changes_buffers=False):
                expected = gradient(point)
                found = [self._tried(lambda: transforms.gradient(point, batch)[0]) for _ in range(2)]
                right = all(one is not None and agree(one, expected) for one in found)
                if right and product is not None:
                    one = self._tried(lambda: transforms.product(point, expected, batch))
                    right = one is not None and agree(one, product(point, expected))
            self._verdicts[key] = right
        return self._verdicts[key]

    def _tried(self, function: Callable[[], Tensor]) -> Tensor | None:
        """The result; None where it raises or leaves tensors of a transform in the module."""
        before = [(vars(part), _contents(part)) for part in self._modules]
        found = None
        with contextlib.suppress(RuntimeError, NotImplementedError):
            found = function().detach()
        for attributes, contents in before:
            for name, value in _contents_of(attributes).items():
                if name not in contents or not _same(contents[name], value):
                    found = None if _holds_tensors(attributes[name]) else found
                    if name in contents:
                        attributes[name] = contents[name]
                    else:
                        del attributes[name]
        return found

    def names(self, packing: Packing) -> list[str]:
        """The module's names of the packed tensors."""
        return [self._names[id(tensor)] for tensor in packing.tensors]

    def _value_of(self, packing: Packing) -> Callable[..., Tensor]:
        names = self.names(packing)

        def value(leaves: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            values = {
                name: leaf.to(tensor.device, tensor.dtype)
                for name, leaf, tensor in zip(names, leaves, packing.tensors, strict=True)
            }
            outputs = torch.func.functional_call(self._module, values, (inputs,), tie_weights=self._tied)
            return self._criterion(outputs, targets)

        return value

    def _key(self, batch: Batch) -> Any:
        shapes = tuple((tuple(part.shape), part.dtype) if isinstance(part, Tensor) else type(part) for part in batch)
        return shapes, tuple(module.training for module in self._modules)


class Transforms:
    """Gradients at packed parameters by torch.func, which the compiler sees through."""

    def __init__(self, functional: Functional, packing: Packing) -> None:
        def value(vector: Tensor, inputs: Any, targets: Any) -> Tensor:
            return functional.value(packing, vector, inputs, targets)

        self.packing, self.names = packing, functional.names(packing)
        self._gradient_and_value = torch.func.grad_and_value(value)

    def gradient(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._gradient_and_value(x, *batch)

    def groups(self, x: Tensor, batches: Batch, shared: bool) -> tuple[Tensor, Tensor]:
        return torch.func.vmap(self._gradient_and_value, (None if shared else 0, 0, 0))(x, *batches)

    def product(self, x: Tensor, vector: Tensor, batch: Batch) -> Tensor:
        return torch.func.grad(lambda point: (self.gradient(point, batch)[0] * vector).sum())(x)


def compiled_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step compiled; without a C++ compiler it is still traced, with guards, into a list of plain tensor operations."""
    how: Any = {"options": inductor_options()} if compiler_found() else {"backend": "aot_eager"}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        # Optimizers share their code: else the ninth one of a process would silently not be compiled.
        how["isolate_recompiles"] = True
    return torch.compile(step, **how)


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two computations of a gradient differ by rounding alone."""
    if expected.is_meta:
        return True
    tolerance = 10 * torch.finfo(expected.dtype).eps ** 0.5
    size = expected.abs().amax().clamp(min=torch.finfo(expected.dtype).tiny)
    return bool(((found - expected).abs().amax() / size) <= tolerance)


def wiggled(x: Tensor) -> Tensor:
    """A point near x, elsewhere in every entry."""
    return x + 0.01 * torch.arange(x.numel(), device=x.device).add(1.0).sin().to(x.dtype).view_as(x)


def hooked(tensors: Sequence[Tensor]) -> bool:
    """Whether somebody listens to the gradients of these parameters."""
    return any(tensor._backward_hooks or tensor._post_accumulate_grad_hooks for tensor in tensors)


def _is_replicated(module: torch.nn.Module) -> bool:
    return isinstance(module, DistributedDataParallel)


def _contents(module: torch.nn.Module) -> dict[str, Any]:
    return _contents_of(vars(module))


def _contents_of(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() if type(value) in (list, dict) else value for name, value in attributes.items()}


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(before[key] is after[key] for key in before)
    return before is after


def _holds_tensors(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else (value,)
    return any(isinstance(one, Tensor) for one in inside)
