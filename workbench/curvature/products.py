"""Hessian-vector products."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.curvature.layers.structured import block_product
from workbench.parameters import Parameters

from .flat import Loss, flatten
from .model import Door, Linearised, transformed


@dataclass(frozen=True)
class HVPOperator:
    """The Hessian of a loss at one point, as a map on vectors.

    `operator(v)` multiplies a vector [P] or every row of a block [k, P]. The forward pass and the gradient are computed
    once; a product is one more backward pass (reverse over reverse: the Hessian is symmetric, so pulling back through the
    gradient equals pushing forward).

    `block_product` multiplies a block where there is a better way than one row like the other.
    """

    product: Callable[[Tensor], Tensor]
    gradient_of: Callable[[], Tensor]
    size: int
    dtype: torch.dtype
    device: torch.device
    block_product: Callable[[Tensor], Tensor] | None = None

    @property
    def gradient(self) -> Float[Tensor, " parameter"]:
        """The loss's gradient at this point."""
        return self.gradient_of()

    def __call__(self, vectors: Tensor) -> Tensor:
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.size:
            raise ValueError(f"vector has shape {tuple(vectors.shape)}; expected [{self.size}] or [k, {self.size}]")
        if vectors.dtype != self.dtype:
            raise ValueError(f"vector has dtype {vectors.dtype}, the parameters {self.dtype}; convert with .to(...)")
        if vectors.ndim == 1:
            return self.product(vectors)
        # What works in place does not pass through transforms of the vectors.
        if self.block_product is None or transformed():
            return torch.func.vmap(self.product)(vectors)
        return self.block_product(vectors)

    def __iter__(self):
        """Unpacks as `matvec, P, dtype, device = hvp_operator(...)`."""
        return iter((self, self.size, self.dtype, self.device))


def hvp_operator(loss: Loss, parameters: Parameters) -> HVPOperator:
    """Linearise the gradient of `loss` at `parameters` once, for many products at this point.

    A loss with an `hvp_operator` of its own (`MinibatchLoss`) makes it itself; for the `empirical_loss` of a multi-layer
    perceptron blocks of vectors take a way of their own, up to twice as fast. Usable inside `torch.func.vmap`, as long as
    the operator does not leave it.

    Raises:
        ValueError: a loss that is random or drifts, that the parameters do not reach, or whose second derivative torch does
            not have or computes wrongly; the layer and what to do are named.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> operator = wb.curvature.hvp_operator(bowl.loss, x)
    >>> operator(torch.eye(2).double())[1], operator.gradient
    (tensor([0., 4.], dtype=torch.float64), tensor([1., 4.], dtype=torch.float64))
    """
    own = getattr(loss, "hvp_operator", None)
    if own is not None:
        return own(parameters)
    operator = autograd_operator(loss, parameters)
    faster = block_product(loss, parameters, operator.product)
    return operator if faster is None else replace(operator, block_product=faster)


def autograd_operator(loss: Loss, parameters: Parameters) -> HVPOperator:
    """The same by automatic differentiation alone."""
    door = Door(loss, parameters)
    door.require_deterministic()
    tangent, flat = Linearised(door), door.flat
    return HVPOperator(tangent.product, lambda: tangent.gradient, flat.numel(), flat.dtype, flat.device, tangent.block)


def hessian_vector_product(loss: Loss, parameters: Parameters, vector: Parameters) -> Parameters:
    """The Hessian of `loss` at `parameters` times `vector`, exact to rounding.

    `vector` has the structure of `parameters` (and so has the result), or is a flat tensor [P], or a block [k, P] of
    flat vectors; P counts the entries in dict order. For many products at one point make an `hvp_operator` once.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.hessian_vector_product(bowl.loss, x, torch.tensor([1.0, 1.0]).double())
    tensor([1., 4.], dtype=torch.float64)
    """
    own = getattr(loss, "hvp_operator", None)
    operator = own(parameters) if own is not None else autograd_operator(loss, parameters)
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
