"""Hessian-vector products: the one way curvature touches a loss that has no structure to exploit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.parameters import Parameters, ravel, tree_map, unravel

Loss = Callable[[Parameters], Tensor]


def flatten(parameters: Parameters) -> tuple[Float[Tensor, " parameter"], Callable[[Tensor], Parameters]]:
    """Parameters as one vector (dict order, each entry row-major) and the function that undoes it.

    Works inside `torch.func` transforms. `torch.nn.Parameter` entries are detached, so that a module's own autograd
    graph never grows behind a curvature call. Raises ValueError for anything but real tensors of one dtype and device.
    """
    entries = parameters if isinstance(parameters, dict) else {"parameters": parameters}
    if not entries:
        raise ValueError("parameters is an empty dict; pass the tensors to differentiate with respect to")
    for name, entry in entries.items():
        if not isinstance(entry, Tensor):
            raise ValueError(f"parameters[{name!r}] is a {type(entry).__name__}; expected a torch.Tensor")
        if not entry.is_floating_point():
            raise ValueError(f"parameters[{name!r}] has dtype {entry.dtype}; expected a real floating-point tensor")
    if len({(entry.dtype, entry.device) for entry in entries.values()}) > 1:
        found = ", ".join(f"{name}: {entry.dtype} on {entry.device}" for name, entry in entries.items())
        raise ValueError(f"parameters must share one dtype and one device, got {found}; convert them with .to(...)")
    detached = tree_map(lambda entry: entry.detach() if isinstance(entry, torch.nn.Parameter) else entry, parameters)
    return ravel(detached), lambda vector: unravel(vector, detached)


def flat_loss(loss: Loss, unflatten: Callable[[Tensor], Parameters]) -> Callable[[Tensor], Tensor]:
    """The loss as a function of the flat vector, refusing anything but a scalar."""

    def evaluate(vector: Tensor) -> Tensor:
        value = loss(unflatten(vector))
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss(parameters) must return one number, got {shape}; reduce it with .mean() or .sum()")
        return value.reshape(())

    return evaluate


def pullback(function: Callable, *points: Any) -> tuple[Any, Callable]:
    """The value of `function` and the map that pulls vectors back through it (`torch.func.vjp`)."""
    value, pull = torch.func.vjp(function, *points)  # pyrefly: ignore[bad-unpacking]
    return value, pull


@dataclass(frozen=True)
class HVPOperator:
    """The Hessian of a loss at one point, as a map on vectors.

    `operator(v)` multiplies a vector [P] or every row of a block [k, P]. The forward pass and the gradient are computed
    once, when the operator is made; a product is one more backward pass (reverse over reverse: the Hessian is
    symmetric, so pulling back through the gradient equals pushing forward).
    """

    product: Callable[[Tensor], Tensor]
    gradient: Float[Tensor, " parameter"]
    size: int
    dtype: torch.dtype
    device: torch.device

    def __call__(self, vectors: Tensor) -> Tensor:
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.size:
            raise ValueError(f"vector has shape {tuple(vectors.shape)}; expected [{self.size}] or [k, {self.size}]")
        if vectors.dtype != self.dtype:
            raise ValueError(f"vector has dtype {vectors.dtype}, the parameters {self.dtype}; convert with .to(...)")
        if vectors.ndim == 1:
            return self.product(vectors)
        return torch.func.vmap(self.product)(vectors)

    def __iter__(self):
        """Unpacks as `matvec, P, dtype, device = hvp_operator(...)`."""
        return iter((self, self.size, self.dtype, self.device))


def hvp_operator(loss: Loss, parameters: Parameters) -> HVPOperator:
    """Linearise the gradient of `loss` at `parameters` once, for many products at this point.

    A loss with an `hvp_operator` of its own (`MinibatchLoss`) makes it itself. Usable inside `torch.func.vmap`, as long as
    the operator does not leave it.
    """
    own = getattr(loss, "hvp_operator", None)
    if own is not None:
        return own(parameters)
    flat, unflatten = flatten(parameters)
    gradient, pull = pullback(torch.func.grad(flat_loss(loss, unflatten)), flat)
    return HVPOperator(lambda vector: pull(vector)[0], gradient, flat.numel(), flat.dtype, flat.device)


def hessian_vector_product(loss: Loss, parameters: Parameters, vector: Parameters) -> Parameters:
    """The Hessian of `loss` at `parameters` times `vector`, exact to rounding.

    `vector` has the structure of `parameters` (and so has the result), or is a flat tensor [P], or a block [k, P] of
    flat vectors; P counts the entries in dict order. For many products at one point make an `hvp_operator` once.
    """
    operator = hvp_operator(loss, parameters)
    if isinstance(vector, dict):
        if not isinstance(parameters, dict) or list(vector) != list(parameters):
            raise ValueError("vector is a dict whose keys differ from those of parameters (names and order must agree)")
        for name, entry in vector.items():
            if entry.shape != parameters[name].shape:
                raise ValueError(
                    f"vector[{name!r}] has shape {tuple(entry.shape)}, "
                    f"parameters[{name!r}] {tuple(parameters[name].shape)}; they must agree"
                )
        flat, unflatten = flatten(vector)
        return unflatten(operator(flat))
    if isinstance(parameters, Tensor) and vector.shape == parameters.shape:
        return operator(vector.reshape(-1)).reshape(vector.shape)
    return operator(vector)
