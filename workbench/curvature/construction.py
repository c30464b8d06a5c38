"""How the loss of a module on a data set is made: what is refused, and what is found out about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from . import batches
from .empirical import EmpiricalLoss, known
from .layers.recognise import analyse
from .model import in_words, plain_kernels, transformed, untouched
from .splitting import split


def empirical_loss(
    model: nn.Module,
    loss_function: Callable[[Any, Any], Tensor],
    inputs: Any,
    targets: Any = None,
    weight_decay: float = 0.0,
) -> EmpiricalLoss:
    """The loss of `model` on (`inputs`, `targets`), for everything in `wb.curvature`.

    `loss_function(outputs, targets)` returns one number, for instance `torch.nn.functional.cross_entropy`; whether it
    averages or sums over samples is found out by trying, on model and loss function together. Weight decay adds
    `weight_decay / 2 |parameters|²`, as SGD's option of that name does. Only parameters with `requires_grad=True` count; the
    others are constants. `inputs` are a tensor, a tuple (the model's arguments) or a dict (its keyword arguments); or,
    without `targets`, a loader of (inputs, targets), which is read once.

    Whether exact Hessians can be assembled from the layers (all parameters in `nn.Linear` and `nn.Conv2d` modules, each
    called once) is found out here too; otherwise they come from Hessian-vector products, with the same result.

    Raises:
        ValueError: all parameters frozen or complex; lengths, shapes or dtypes that do not fit; a loss that is not one finite
            number or not deterministic; BatchNorm or dropout in training mode; no trainable parameter reaches the loss (a
            warning names those that do not, where others do), or the model reads one where it cannot be replaced.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> loss({'weight': torch.tensor([[2.0]])})
    tensor(4.)
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    if targets is None:
        if not batches.is_loader(inputs):
            raise ValueError("targets are missing: pass inputs and targets, or a loader that gives both")
        both = batches.gather(inputs)
        if not isinstance(both, (tuple, list)) or len(both) != 2:
            raise ValueError(
                f"the loader gives {type(both).__name__}; pass one whose batches are (inputs, targets), or the data themselves"
            )
        inputs, targets = both
    inputs, targets = batches.plain(inputs), batches.plain(targets)
    trainable = {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}
    if not trainable:
        raise ValueError("all parameters of the model are frozen (requires_grad=False); unfreeze those of interest")
    if any(entry.is_meta for entry in trainable.values()):
        raise ValueError(
            "the model's parameters are on the meta device, which has shapes but no values: nothing about the loss can be tried "
            "there; materialise the model (to_empty and its initialisation) on a real device"
        )
    complex_ones = [name for name, entry in trainable.items() if entry.is_complex()]
    if complex_ones:
        raise ValueError(
            f"complex parameters are not supported: {complex_ones}; hold their real and imaginary parts as one real parameter "
            "(torch.view_as_real) and put them together in forward (torch.view_as_complex)"
        )
    if batches.count("inputs", inputs) != batches.count("targets", targets):
        raise ValueError(
            f"inputs {_shapes(inputs)} and targets {_shapes(targets)} must have the same number of samples in their first "
            "dimension"
        )
    loss = EmpiricalLoss(model, loss_function, inputs, targets, weight_decay, tuple(trainable))
    if loss.samples == 0:
        raise ValueError("inputs are empty; an empirical loss needs at least one sample")
    loss.check(trainable)
    with plain_kernels(), torch.no_grad():
        _check_value(loss, trainable)
    if not transformed():
        _check_reach(loss, trainable)
    with plain_kernels(), torch.no_grad():
        reduction, coupling = split(loss, trainable)
    loss = replace(loss, reduction=reduction, coupling=coupling)
    with plain_kernels():
        structure = analyse(loss, trainable) if reduction else None
    return replace(loss, structure=structure)


def _shapes(batch: Any) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in batches.tensors(batch))


def _check_value(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> None:
    copies = {name: entry.clone() for name, entry in parameters.items()}
    outputs, targets, samples = loss.outputs(copies), loss.targets, loss.samples
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        shapes = {tuple(outputs.shape), tuple(targets.shape)}
        if targets.is_floating_point() and shapes == {(samples,), (samples, 1)} and samples > 1:
            raise ValueError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} would broadcast to "
                f"({samples}, {samples}); reshape the targets with targets.reshape(outputs.shape)"
            )
    # Both in one: what the model counts or keeps from one call to the next shows.
    with untouched(loss.model), loss.places.holding(copies):
        value, again = (loss.loss_function(batches.call(loss.model, loss.inputs), loss.targets) for _ in range(2))
    written = [name for name, entry in copies.items() if entry._version]
    if written:
        raise ValueError(
            f"the forward pass changes its own parameters in place: {written[:6]} (an embedding with max_norm, weights that are "
            "clipped or normalised there), so the loss is no function of them; change them after the optimizer's step instead"
        )
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss_function must return one number, got {shape}; use reduction='mean' or .mean()")
    if known(torch.isfinite(value).all()) is False:
        entries = [leaf for leaf in batches.tensors(loss.inputs) if leaf.is_floating_point()]
        bad = sum(int((~torch.isfinite(leaf)).sum()) for leaf in entries)
        raise ValueError(
            f"the loss at the model's parameters is {value.item()}; look for non-finite inputs "
            f"({bad} of {sum(leaf.numel() for leaf in entries)}) or diverged parameters"
        )
    tolerance = 100 * torch.finfo(value.dtype).eps * value.abs()
    if known(((again - value).abs() <= tolerance).all()) is False:
        raise ValueError(
            f"the loss is not deterministic: two evaluations at the same parameters gave {value.item()!r} and "
            f"{again.item()!r}. Remove the randomness (model.eval(), fixed noise as data) first."
        )


def _check_reach(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> None:
    """The gradient with substituted parameters must be that of the model's own, and must exist."""
    own = {name: entry for name, entry in loss.model.named_parameters() if name in parameters}
    leaves = {name: entry.detach().clone().requires_grad_() for name, entry in parameters.items()}
    inputs, targets = loss.some(slice(0, 3))
    with torch.enable_grad(), plain_kernels(), in_words("the gradient", [loss.model]):
        with untouched(loss.model):
            try:
                value = loss.loss_function(batches.call(loss.model, inputs), targets)
            except (RuntimeError, ValueError, IndexError, TypeError):  # a model of all samples at once: a graph, a mask
                inputs, targets = loss.inputs, loss.targets
                value = loss.loss_function(batches.call(loss.model, inputs), targets)
            found = _gradients(value, list(own.values()))
        with untouched(loss.model), loss.places.holding(leaves):
            value = loss.loss_function(batches.call(loss.model, inputs), targets)
            substituted = _gradients(value, list(leaves.values()))
    missing = [name for name, entry in zip(own, found, strict=True) if entry is None]
    if len(missing) == len(own):
        raise ValueError(
            f"no trainable parameter reaches the loss: it does not depend on {missing[:6]}. Is the forward pass under "
            "torch.no_grad(), or do layers use merged copies of them, as low-rank adapters do after eval()?"
        )
    if missing:
        warnings.warn(
            f"parameters that do not reach the loss, with derivative 0: {missing}; freeze them (requires_grad_(False)) to "
            "leave them out",
            stacklevel=3,
        )
    for name, one, other in zip(own, found, substituted, strict=True):
        one = torch.zeros_like(own[name]) if one is None else one
        other = torch.zeros_like(one) if other is None else other
        scale = max(float(one.abs().amax()), float(other.abs().amax())) if one.numel() else 0.0
        if scale and float((one - other).abs().amax()) > torch.finfo(one.dtype).eps ** 0.5 * scale:
            if own[name]._backward_hooks:
                raise ValueError(
                    f"parameter {name!r} carries a hook that changes its gradient, so that the gradient is not the loss's; "
                    "remove the hook, or freeze the parameter (requires_grad_(False)) where it shall not count"
                )
            raise ValueError(
                f"the model reads parameter {name!r} from a place where it cannot be replaced (a plain list, an attribute "
                "beside the registered parameter, a compiled function), so derivatives would miss it; read it through the "
                "module that registers it"
            )


def _gradients(value: Tensor, tensors: list[Tensor]) -> list[Tensor | None]:
    if not value.requires_grad:
        return [None] * len(tensors)
    found = torch.autograd.grad(value, tensors, allow_unused=True)
    return [entry.to_dense() if entry is not None and entry.is_sparse else entry for entry in found]
