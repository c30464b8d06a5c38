"""Evaluating somebody's loss at displaced weights: in the module itself, in place, and back again.

Everything that looks at the parameters while the loss or its derivatives are computed (saved tensors, recomputation in
checkpoints and adjoint layers, losses that read the module, hooks, replicas) then sees the displaced ones.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from workbench.curvature.model import ExactOperations, Graph, contradiction, plain_kernels
from workbench.optimizers.torch.packing import Packing

Closure = Callable[[], Tensor]
Vector = Float[Tensor, " parameter"]

# Compiled modules say that hooks on all modules fire once more for them; ours look once at each module anyway.
warnings.filterwarnings("ignore", message="Using `torch.compile\\(module\\)` when there are global hooks")

UNREACHED = (
    "the loss does not depend on any parameter of this optimizer: none that requires a gradient reaches it. Are they frozen, "
    "merged by eval(), used under no_grad, or those of a copy? (A copied or unpickled optimizer has parameters of its own: make "
    "a new one for the model and load its state_dict.)"
)


class Passes:
    """The evaluations of one step.

    All passes of a step draw the same random numbers from torch's generators, so that dropout masks are equal in all of them.
    Buffers (statistics of batch normalisation, say) keep what the step's first pass made of them.
    """

    def __init__(
        self, packing: Packing, home: Vector, scale: Tensor | None = None, proofs: dict[str, bool] | None = None
    ) -> None:
        """`proofs`: what has been found out about second derivatives so far, for an optimizer to keep."""
        self.packing, self.home, self.scale = packing, home, scale
        self._proofs = {} if proofs is None else proofs
        self._tensors, self._here = packing.tensors, home
        self._random: list[tuple[Any, Tensor]] | None = None
        self._settled = False

    @contextmanager
    def opened(self, *, changes_buffers: bool = True, refuse_replicas: str = "") -> Generator[None]:
        """Around one pass, which may consist of several evaluations."""
        if self._random is None:
            self._random = [(module, module.get_rng_state()) for module in self.packing.generators]
        else:
            self._rewind()
        keeps = self._settled or not changes_buffers
        self._settled = self._settled or changes_buffers
        if not (keeps or refuse_replicas):
            yield
            return
        with _Kept(refuse_replicas, keeps):
            yield

    def _rewind(self) -> None:
        for module, state in self._random or ():
            module.set_rng_state(state)

    def gradient(self, closure: Closure, x: Vector, local: bool = False) -> tuple[Vector, Tensor]:
        """The gradient that `backward()` gives and the loss, at x. `local`: without the hooks through which replicas talk."""
        loss = self._evaluate(closure, x)
        if all(tensor.grad is None for tensor in self._tensors):
            if not loss.requires_grad:
                raise ValueError(UNREACHED)
            found = list(self._derived(loss, local))
            if all(gradient is None for gradient in found):
                raise ValueError(UNREACHED)
        else:
            found = [tensor.grad for tensor in self._tensors]
        gradient = self._collected(found)
        if self.scale is not None:
            gradient = gradient / self.scale.to(gradient.device)
        return gradient, loss.detach()

    def _derived(self, loss: Tensor, local: bool) -> Sequence[Tensor | None]:
        try:
            if local:
                return torch.autograd.grad(loss, self._tensors, allow_unused=True)
            torch.autograd.backward(loss, inputs=self._tensors)
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise ValueError(
                "a checkpoint with use_reentrant=True has no gradients with respect to given parameters; make it with "
                "use_reentrant=False, or call backward() in the closure"
            ) from error
        return [tensor.grad for tensor in self._tensors]

    def product(self, closure: Closure, x: Vector, vector: Vector) -> Vector:
        """Hessian at x times the vector, by differentiating twice."""
        if self.scale is not None:
            raise ValueError(
                "Hessian-vector products are not taken of a scaled loss; use bfloat16, which needs no scaler"
            )
        for index, tensor in enumerate(self._tensors):
            if tensor._backward_hooks or tensor._post_accumulate_grad_hooks:
                raise ValueError(
                    f"parameter {index} carries a hook, which second derivatives do not pass through; remove it"
                )
        with plain_kernels():
            loss = self._evaluate(closure, x)
            if any(tensor.grad is not None for tensor in self._tensors):
                raise ValueError(
                    "this rule needs Hessian-vector products: let the closure return the loss without calling backward()"
                )
            if not loss.requires_grad:
                raise ValueError(UNREACHED)
            graph = None if "second" in self._proofs else Graph(loss, self._tensors[0])
            if graph is not None:
                self._proofs["exact"] = graph.needs_exact_operations
            exact = ExactOperations() if self._proofs["exact"] else contextlib.nullcontext()
            with exact:
                if self._proofs["exact"]:
                    self._rewind()
                    loss = self._evaluate(closure, x)
                gradient, product = self._twice(loss, vector)
            if graph is not None:
                self._require_derivatives(closure, x, vector, gradient, product, graph.unproven)
        return product

    def _twice(self, loss: Tensor, vector: Vector) -> tuple[Vector, Vector]:
        try:
            first = torch.autograd.grad(loss, self._tensors, create_graph=True, allow_unused=True)
            along = self.packing.unpack(vector, exact=True)
            slope = sum((_real(g) * _real(v)).sum() for g, v in zip(first, along, strict=True) if g is not None)
            if isinstance(slope, Tensor) and slope.requires_grad:
                second = torch.autograd.grad(slope, self._tensors, allow_unused=True)
            else:
                second = (None,) * len(self._tensors)
        except RuntimeError as error:
            raise ValueError(
                f"this rule needs Hessian-vector products, and torch cannot differentiate this loss twice: {error}"
            ) from error
        return self._collected(first), self._collected(second)

    def _require_derivatives(
        self, closure: Closure, x: Vector, vector: Vector, gradient: Vector, product: Vector, names: tuple[str, ...]
    ) -> None:
        """Compare the gradient with differences of the loss and, through functions that torch does not vouch for (of these
        names), the product with differences of gradients; once for an optimizer.

        Raises:
            ValueError: the second derivative is none of the loss's.
        """
        self._proofs["second"] = True
        largest = vector.abs().amax()
        if x.is_meta or x.dtype not in (torch.float32, torch.float64) or not bool(largest > 0):
            return
        along = torch.where(gradient != 0, vector / largest, 0.0)

        def value(point: Vector) -> Tensor:
            self._rewind()
            return self._evaluate(closure, point).detach().to(x.dtype)

        def slope(point: Vector) -> Vector:
            self._rewind()
            found = torch.autograd.grad(self._evaluate(closure, point), self._tensors, allow_unused=True)
            return self._collected(found)

        gap = contradiction((gradient * along).sum(), value, x, along)
        if gap is None and names:
            gap = contradiction(product / largest, slope, x, vector / largest)
        if gap is not None:
            del self._proofs["second"]
            through = f" through {', '.join(names)}" if names else ""
            raise ValueError(
                f"this rule needs Hessian-vector products, and this loss{through} has no true second derivative: its derivatives "
                f"differ from central differences by {gap:.2g}. Part of it is detached (detach(), .data, a straight-through "
                "estimator), a hook changes its gradient, or a hand-written backward pass is not differentiable; write it "
                "without that, or use a rule that needs gradients alone, such as sam"
            )

    def value(self, closure: Closure, x: Vector) -> Tensor:
        """The loss at x."""
        loss = self._evaluate(closure, x).detach()
        self._forget()
        return loss

    def put(self, x: Vector) -> None:
        """Write x into the module."""
        if x is not self._here:
            self.packing.put(x)
            self._here = x
            # An autocast region keeps the casts of the weights that it has seen.
            torch.clear_autocast_cache()

    def leave_infinite(self) -> None:
        """Let torch.amp.GradScaler find, at its next look, that its scale was too large."""
        self._tensors[0].grad = torch.full_like(self._tensors[0], torch.inf)

    def _evaluate(self, closure: Closure, x: Vector) -> Tensor:
        self.put(x)
        self._forget()
        versions = [tensor._version for tensor in self._tensors]
        with torch.enable_grad():
            loss = closure()
        for index, (tensor, version) in enumerate(zip(self._tensors, versions, strict=True)):
            if tensor._version != version:
                raise ValueError(
                    f"parameter {index} of shape {tuple(tensor.shape)} is changed in place while the loss is computed (an "
                    "embedding with max_norm, weights that are clipped or normalised there), so that the displaced point is "
                    "another one; change it after the step"
                )
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = f"of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ValueError(f"the closure must return the loss (a minibatch's mean) as a 0-dim tensor, got {got}")
        return loss

    def _forget(self) -> None:
        for tensor in self._tensors:
            tensor.grad = None

    def _collected(self, gradients: list[Tensor | None] | tuple[Tensor | None, ...]) -> Vector:
        dense = []
        for index, (tensor, gradient) in enumerate(zip(self._tensors, gradients, strict=True)):
            if gradient is not None and gradient.layout != torch.strided:
                raise ValueError(
                    f"parameter {index} of shape {tuple(tensor.shape)} has a sparse gradient; use sparse=False"
                )
            dense.append(torch.zeros_like(tensor) if gradient is None else gradient.detach())
        self._forget()
        return self.packing.pack(dense)


class _Kept:
    """While open, buffers of every module that is called are noted before, and afterwards put back (if `keeps`)."""

    def __init__(self, refuse_replicas: str, keeps: bool) -> None:
        self._refuse, self._keeps = refuse_replicas, keeps
        self._seen: set[int] = set()
        self._saved: list[tuple[dict, str, Tensor, Tensor]] = []

    def __enter__(self) -> None:
        self._handle = register_module_forward_pre_hook(self._note)

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        with torch.no_grad():
            for buffers, name, buffer, value in self._saved:
                buffers[name] = buffer
                buffer.copy_(value)

    def _note(self, module: torch.nn.Module, _: object) -> None:
        if id(module) in self._seen:
            return
        for part in module.modules():
            self._seen.add(id(part))
            if self._refuse and isinstance(part, torch.nn.parallel.DistributedDataParallel):
                raise ValueError(self._refuse)
            if self._keeps:
                for name, buffer in part._buffers.items():
                    if buffer is not None:
                        self._saved.append((part._buffers, name, buffer, buffer.detach().clone()))


def _real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value
