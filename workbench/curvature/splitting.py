"""How a loss combines its samples: by a mean, by a sum, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from . import batches
from .empirical import EmpiricalLoss

Reduction = Literal["mean", "sum"]

_TRIED = 4
_LOOP = 64
"""Samples one by one where the loss function cannot be vmapped."""


def split(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> tuple[Reduction | None, str]:
    """How the loss combines samples; or None, and in words that it couples them or why this is not known.

    Two tests must agree. The whole evaluation, model and loss function together, of a few samples at once and of each alone
    (models that couple samples, also through attributes that the loss function reads); and the loss function on the outputs
    of all samples at once and one by one (class weights, masks, ignored targets).
    """
    try:
        whole, parts, tolerance = _whole_evaluation(loss, parameters)
    except Exception as error:
        return None, (
            "whether this loss splits over its samples is unknown, because the model or the loss function refuses a part of "
            f"the samples ({type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''})"
        )
    joint = _combined(whole, parts, tolerance)
    if not joint:
        return None, (
            "this loss couples its samples (batch statistics, weights, a term over the whole batch), so a sample has no loss "
            "of its own"
        )
    try:
        apart = _loss_function(loss, parameters, next(iter(parameters.values())).dtype)
    except Exception as error:
        return None, (
            "whether this loss splits over its samples is unknown, because the loss function refuses single samples "
            f"({type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''})"
        )
    common = [name for name in ("mean", "sum") if name in joint and name in apart]
    if common:
        return common[0], ""  # pyrefly: ignore[bad-return]
    return None, "this loss couples its samples or weighs them, so a sample has no loss of its own"


def _combined(whole: Tensor, parts: Tensor, tolerance: float) -> set[str]:
    scale = tolerance * torch.maximum(parts.abs().mean(), whole.abs())
    found = {"mean": parts.mean(), "sum": parts.sum()}
    return {name for name, value in found.items() if _known((whole - value).abs() <= scale) is not False}


def _known(condition: Tensor) -> bool | None:
    try:
        return bool(condition)
    except RuntimeError:  # batched runs have no single answer
        return None


def _whole_evaluation(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor, float]:
    """Loss of a few samples and of each, at parameters nearby, so that no symmetry of the start hides a coupling."""
    chosen = torch.linspace(0, loss.samples - 1, min(_TRIED, loss.samples)).long()
    generator = torch.Generator().manual_seed(0)

    def near(entry: Tensor) -> Tensor:
        noise = torch.randn(entry.shape, generator=generator, dtype=torch.float64).to(entry.device)
        width = 0.1 * entry.detach().double().abs().amax().clamp(min=0.1) if entry.numel() else 1.0
        return entry.detach().double() + noise * width

    shifted = {name: near(entry) for name, entry in parameters.items()}
    doubles = {**_floating(loss.model.named_parameters()), **_floating(loss.model.named_buffers()), **shifted}
    own = {name: shifted[name].to(entry.dtype) for name, entry in parameters.items()}
    coarse = max(torch.finfo(entry.dtype).eps for entry in parameters.values()) ** 0.5
    attempts = [(doubles, torch.float64, 1e-9), (own, None, coarse), (parameters, None, coarse)]
    failure: Exception | None = None
    for tensors, dtype, tolerance in attempts:
        try:
            inputs, targets = (_cast(entry, dtype) for entry in loss.some(chosen))
            whole = loss.data_loss(tensors, inputs, targets)
            parts = torch.stack(
                [
                    loss.data_loss(
                        tensors, batches.take(inputs, slice(i, i + 1)), batches.take(targets, slice(i, i + 1))
                    )
                    for i in range(len(chosen))
                ]
            )
        except Exception as error:
            failure = failure or error
            continue
        if _known(torch.isfinite(whole) & torch.isfinite(parts).all()) is not False:
            return whole, parts.reshape(len(chosen)), tolerance
    raise failure or ValueError("it is not finite there")


def _loss_function(loss: EmpiricalLoss, parameters: dict[str, Tensor], dtype: torch.dtype) -> set[str]:
    """The same of the loss function alone, on all samples, at outputs mixed so that a perfect fit hides nothing."""
    outputs = loss.outputs(parameters)
    leaves = tree.tree_leaves(outputs)
    if not all(isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == loss.samples for leaf in leaves):
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            return {"mean", "sum"}  # objects that cannot be cut: the whole evaluation alone decides
        raise ValueError(
            f"outputs {[tuple(leaf.shape) for leaf in leaves]} do not have the samples in their first dimension"
        )
    generator = torch.Generator().manual_seed(0)

    def shifted(leaf: Tensor) -> Tensor:
        noise = torch.rand(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
        return leaf.double() + noise * leaf.abs().amax().double().clamp_min(1.0)

    def mixed(leaf: Tensor) -> Tensor:
        # Probabilities stay probabilities.
        return 0.7 * leaf.double() + 0.3 * leaf.double().roll(1, 0)

    failure: Exception | None = None
    fine, rough = (torch.float64, 1e-9), (dtype, torch.finfo(dtype).eps ** 0.5)
    for move, (precision, tolerance) in ((shifted, fine), (mixed, fine), (shifted, rough), (mixed, rough)):
        moved = tree.tree_map(lambda leaf, move=move: move(leaf) if leaf.is_floating_point() else leaf, outputs)
        moved, targets = _cast(moved, precision), _cast(loss.targets, precision)
        try:
            whole = loss.loss_function(moved, targets)
            parts = _one_by_one(loss.loss_function, moved, targets, loss.samples)
        except Exception as error:
            failure = failure or error
            continue
        if _known(torch.isfinite(whole) & torch.isfinite(parts).all()) is not False:
            return _combined(whole, parts, tolerance)
    if failure is None:
        return set()  # some sample alone has no finite loss: an ignored target
    raise failure


def _one_by_one(function: Callable, outputs: Any, targets: Any, samples: int) -> Tensor:
    def one(output: Any, target: Any) -> Tensor:
        return function(batches.single(output), batches.single(target)).reshape(())

    try:
        return torch.func.vmap(one)(outputs, targets)
    except Exception:
        if samples > _LOOP:
            raise
        single = [
            (batches.take(outputs, slice(i, i + 1)), batches.take(targets, slice(i, i + 1))) for i in range(samples)
        ]
        return torch.stack([function(output, target).reshape(()) for output, target in single])


def _floating(named: Any) -> dict[str, Tensor]:
    return {name: entry.detach().double() for name, entry in named if entry.is_floating_point()}


def _cast(batch: Any, dtype: torch.dtype | None) -> Any:
    if dtype is None:
        return batch
    return tree.tree_map(
        lambda leaf: leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, batch
    )
