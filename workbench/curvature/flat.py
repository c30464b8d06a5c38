"""Parameters as one vector, and the loss as a function of it."""

from collections.abc import Callable
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
