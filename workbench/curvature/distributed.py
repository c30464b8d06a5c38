"""Losses over more data than fits at once, or than one process should handle: same curvature calls, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as processes

from workbench.parameters import Parameters

from . import batches as trees
from .flat import flatten
from .model import Door, Linearised, transformed
from .products import HVPOperator


class MinibatchLoss:
    """The loss over all batches of a loader, and over all processes of the default `torch.distributed` group.

    Curvature functions that need only Hessian-vector products (`hessian`, `spectrum`, `top_eigenpairs`, `sharpness`,
    `trace`, `diagonal`, `frobenius_norm`, `spectral_density`) take it as they take any loss: each product (of a block of
    vectors at once) passes once over the loader with one batch in memory and, where a process group is initialised, ends
    in one all-reduce. Every process then makes the same calls with the same parameters and its own
    share of the data, and gets the same result. Not for use inside `torch.func.vmap`.

    Args:
        batch_loss: `batch_loss(parameters, *batch) -> scalar`, the mean (or with reduction="sum", the sum) over a batch.
        batches: anything that can be iterated over again and again, such as a `DataLoader` or a list; each batch is a
            tensor, a tuple (the loss's arguments) or a dict (its one argument) of tensors with a leading sample dimension.
            Shuffling does no harm unless samples are left out; augmentation does, since products would then belong to
            different losses: both are refused.
        reduction: "mean" weighs batches by their number of samples, over all processes; "sum" adds them.

    Raises:
        ValueError: an iterator that can be used only once, a loader that drops shuffled samples or draws with replacement,
            one without batches in any process, or one that gives other data at every pass (found at the first product).

    >>> import torch
    >>> import workbench as wb
    >>> batches = [(torch.tensor([1.0, 3.0]),), (torch.tensor([5.0]),)]
    >>> loss = wb.curvature.MinibatchLoss(lambda w, x: (x * w).square().mean() / 2, batches)
    >>> wb.curvature.sharpness(loss, torch.tensor([1.0]))  # the mean of x^2: 35/3
    tensor(11.6667)
    """

    def __init__(
        self,
        batch_loss: Callable[..., Tensor],
        batches: Iterable[Any],
        *,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction={reduction!r}; choose 'mean' or 'sum'")
        trees.refuse_chance(batches)
        self.batch_loss, self.batches, self.reduction = batch_loss, batches, reduction

    def __call__(self, parameters: Parameters) -> Float[Tensor, ""]:
        """The loss over all batches and processes. Differentiable in one process only (all batches then stay in memory)."""
        flat, _ = flatten(parameters)
        if _several() and (flat.requires_grad or torch._C._functorch.is_functorch_wrapped_tensor(flat)):
            raise ValueError("a loss over several processes has no autograd graph; use its .gradient or .hvp_operator")
        return self._total(flat, lambda batch: self.batch_loss(parameters, *batch))

    def gradient(self, parameters: Parameters) -> Float[Tensor, " parameter"]:
        """The gradient over all batches and processes, as one vector."""
        flat, unflatten = flatten(parameters)
        if transformed() or flat.requires_grad:
            slope = torch.func.grad(lambda vector, batch: self.batch_loss(unflatten(vector), *batch))
            return self._total(flat, lambda batch: slope(flat, batch))
        door = Door(self.batch_loss, parameters)
        with door.open():
            return self._total(
                flat, lambda batch: door.derivative(lambda point: self.batch_loss(point, *batch), flat)[0]
            )

    def hvp_operator(self, parameters: Parameters) -> HVPOperator:
        """Products with the Hessian over all batches and processes; what the curvature functions call."""
        flat, _ = flatten(parameters)
        Door(self, parameters).require_deterministic()

        def product(vectors: Tensor) -> Tensor:
            def of_batch(batch: tuple[Any, ...]) -> Tensor:
                tangent = Linearised(Door(_OnBatch(self.batch_loss, batch), parameters, self.batch_loss))
                return tangent.product(vectors) if vectors.ndim == 1 else tangent.block(vectors)

            return self._total(flat, of_batch)

        # One pass over the data for a whole block.
        return HVPOperator(product, lambda: self.gradient(parameters), flat.numel(), flat.dtype, flat.device, product)

    def _total(self, like: Tensor, of_batch: Callable[[tuple[Tensor, ...]], Tensor]) -> Tensor:
        """Weighted sum of a quantity over this process's batches, then over the processes."""
        total, weight = None, 0
        for entry in self.batches:
            entry = trees.to(trees.plain(entry), like.device)
            batch = tuple(entry) if isinstance(entry, (tuple, list)) else (entry,)
            share = trees.count("the batch", batch) if self.reduction == "mean" else 1
            part = share * of_batch(batch)
            total, weight = part if total is None else total + part, weight + share
        if total is None:
            raise ValueError("batches is empty; the loss needs at least one batch in every process")
        if _several():
            total = total.clone()
            processes.all_reduce(total)
            count = torch.tensor(weight, device=like.device)
            processes.all_reduce(count)
            weight = int(count)
        return total / weight if self.reduction == "mean" else total


@dataclass(frozen=True, eq=False)
class _OnBatch:
    """The loss of one batch as a function of the parameters."""

    loss: Callable[..., Tensor]
    batch: tuple[Any, ...]

    def __call__(self, parameters: Parameters) -> Tensor:
        return self.loss(parameters, *self.batch)


def _several() -> bool:
    return processes.is_available() and processes.is_initialized() and processes.get_world_size() > 1
