"""Parameters as one vector, and the loss as a function of it."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.parameters import Parameters, concrete, ravel, tree_map, unravel

Loss = Callable[[Parameters], Tensor]


def size_of(parameters: Parameters) -> tuple[int, torch.dtype]:
    """Number and type of the entries, checked as `flatten` does, without a copy.

    Raises:
        ValueError: anything but real tensors of one dtype and device.
    """
    entries = parameters if isinstance(parameters, dict) else {"parameters": parameters}
    if not entries:
        raise ValueError("parameters is an empty dict; pass the tensors to differentiate with respect to")
    for name, entry in entries.items():
        where = f"parameters[{name!r}]" if isinstance(parameters, dict) else "parameters"
        if not isinstance(entry, Tensor):
            raise ValueError(
                f"{where} is a {type(entry).__name__}; expected a torch.Tensor, or a dict of them by name "
                "(dict(model.named_parameters()))"
            )
        if entry.is_complex():
            raise ValueError(
                f"{where} is complex ({entry.dtype}), which is not supported; hold real and imaginary parts as one real tensor"
            )
        if not entry.is_floating_point():
            raise ValueError(f"{where} has dtype {entry.dtype}; expected a real floating-point tensor")
    if len({(entry.dtype, entry.device) for entry in entries.values()}) > 1:
        found = ", ".join(f"{name}: {entry.dtype} on {entry.device}" for name, entry in entries.items())
        raise ValueError(f"parameters must share one dtype and one device, got {found}; convert them with .to(...)")
    count = sum(entry.numel() for entry in entries.values())
    if not count:
        raise ValueError("parameters have no entries; pass the tensors to differentiate with respect to")
    return count, next(iter(entries.values())).dtype


def require_full_precision(dtype: torch.dtype) -> None:
    """Refuse half precision where eigenvalues or factorisations are computed.

    Raises:
        ValueError: float16 or bfloat16.
    """
    if dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"parameters are {str(dtype).removeprefix('torch.')} (half precision), in which no eigenvalue or estimate can be "
            "computed; convert model and data with .float() or .double()"
        )


def require_finite(parameters: Parameters) -> None:
    """Refuse parameters with NaN or infinite entries (those of runs in a sweep pass: a diverged run gives NaN).

    Raises:
        ValueError: with the names.
    """
    entries = parameters if isinstance(parameters, dict) else {"parameters": parameters}
    for name, entry in entries.items():
        if concrete(torch.isfinite(entry).all()) is False:
            raise ValueError(
                f"{name} has entries that are not finite: the run has diverged; take the parameters of an earlier step"
            )


def flatten(parameters: Parameters) -> tuple[Float[Tensor, " parameter"], Callable[[Tensor], Parameters]]:
    """Parameters as one vector (dict order, each entry row-major) and the function that undoes it.

    Works inside `torch.func` transforms. `torch.nn.Parameter` entries are detached, so that a module's own autograd
    graph never grows behind a curvature call. Raises ValueError for anything but real tensors of one dtype and device.
    """
    size_of(parameters)
    detached = tree_map(lambda entry: entry.detach() if isinstance(entry, torch.nn.Parameter) else entry, parameters)
    return ravel(detached), lambda vector: tree_map(_aligned, unravel(vector, detached))


def _aligned(entry: Tensor) -> Tensor:
    """Pairs of numbers as a product, so that they and all their derivatives are memory of their own: torch.view_as_complex
    cannot look at pairs that begin at an odd place of a vector.
    """
    return entry * 1 if entry.dim() and entry.shape[-1] == 2 else entry


def flat_loss(loss: Callable[..., Tensor], unflatten: Callable[[Tensor], Parameters]) -> Callable[..., Tensor]:
    """The loss as a function of the flat vector (and whatever else it takes), refusing anything but a scalar."""

    def evaluate(vector: Tensor, *batch: Any) -> Tensor:
        return scalar(loss(unflatten(vector), *batch))

    return evaluate


def scalar(value: object) -> Float[Tensor, ""]:
    """The loss as a 0-dim tensor.

    Raises:
        ValueError: anything but one number.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss(parameters) must return one number, got {shape}; reduce it with .mean() or .sum()")
    return value.reshape(())


def pullback(function: Callable, *points: Any) -> tuple[Any, Callable]:
    """The value of `function` and the map that pulls vectors back through it (`torch.func.vjp`)."""
    value, pull = torch.func.vjp(function, *points)  # pyrefly: ignore[bad-unpacking]
    return value, pull
