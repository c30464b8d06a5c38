"""The loss of a module on a data set, as a function of its parameters."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.parameters import inner

from . import batches
from .flat import Parameters
from .layers.recognise import analyse
from .layers.taps import Layer, Structure
from .model import Places, in_words, plain_kernels, transformed, untouched
from .splitting import split

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_DROPOUTS = (nn.modules.dropout._DropoutNd,)


@dataclass(frozen=True, eq=False, repr=False)
class EmpiricalLoss:
    """`loss_function(model(inputs), targets) + weight_decay / 2 |parameters|²`, a function of the parameters.

    Made by `empirical_loss`, which checks everything. `loss(parameters)` takes the trainable parameters as
    `torch.func.functional_call` does; `loss.parameters()` are the module's own. Model and loss function are evaluated with
    the same parameters in place, and the model is left as it was. `hessian`, `spectrum`, the Gauss-Newton family, per-sample
    gradients and whatever multiplies blocks of vectors (density, trace) recognise it and use its structure where it has one
    (`loss.structure`), after one comparison with plain autograd.

    `reduction` says how the loss combines its samples; where it is None, `coupling` says why it does not.
    """

    model: nn.Module
    loss_function: Callable[[Any, Any], Tensor]
    inputs: Any
    targets: Any
    weight_decay: float = 0.0
    names: tuple[str, ...] = ()
    reduction: Literal["mean", "sum"] | None = field(default=None)
    coupling: str = ""
    structure: Structure | None = field(default=None)
    proofs: dict[str, bool] = field(default_factory=dict)

    def __repr__(self) -> str:
        function = getattr(self.loss_function, "__name__", type(self.loss_function).__name__)
        decay = f", weight_decay={self.weight_decay:g}" if self.weight_decay else ""
        how = self.reduction or "couples its samples"
        return f"EmpiricalLoss({type(self.model).__name__}, {function} ({how}), {self.samples} samples{decay})"

    def __call__(self, parameters: Parameters) -> Float[Tensor, ""]:
        self.check(parameters)
        return self.data_loss(parameters, self.inputs, self.targets) + self.penalty(parameters)

    @functools.cached_property
    def samples(self) -> int:
        """How many samples the data have."""
        return batches.count("inputs", self.inputs)

    @functools.cached_property
    def places(self) -> Places:
        """Where the model keeps its parameters."""
        return Places(self.model)

    def parameters(self) -> dict[str, Tensor]:
        """The module's trainable parameters (`requires_grad=True`), in its own order, sharing its memory."""
        return {name: entry.detach() for name, entry in self.model.named_parameters() if name in self.names}

    def sample_loss(self, parameters: Parameters, sample: Any, target: Any) -> Float[Tensor, ""]:
        """The loss of one sample without weight decay; a mean (or sum, `reduction`) of these is the data's loss."""
        return self.data_loss(parameters, batches.single(sample), batches.single(target))

    def outputs(self, parameters: Parameters, inputs: Any = None) -> Any:
        """What the model predicts, [sample, ...]."""
        with untouched(self.model), self.places.holding(named(parameters)):
            return batches.call(self.model, self.inputs if inputs is None else inputs)

    def data_loss(self, parameters: Parameters, inputs: Any, targets: Any) -> Tensor:
        """The loss on some of the data, without weight decay."""
        with untouched(self.model), self.places.holding(named(parameters)):
            return self.loss_function(batches.call(self.model, inputs), targets)

    def some(self, samples: Any) -> tuple[Any, Any]:
        """Inputs and targets of some samples (a slice or indices)."""
        return batches.take(self.inputs, samples), batches.take(self.targets, samples)

    def penalty(self, parameters: Parameters) -> Tensor | float:
        if not self.weight_decay:
            return 0.0
        return 0.5 * self.weight_decay * inner(parameters, parameters)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The affine layers of the structure; none where there is none."""
        return self.structure.layers if self.structure else ()

    def share(self, samples: int) -> float:
        """What the loss of `samples` samples contributes to the whole: their fraction for a mean, 1 for a sum."""
        return samples / self.samples if self.reduction == "mean" else 1.0

    def check(self, parameters: Parameters) -> None:
        """Refuse parameters that are not the model's trainable ones, and a model switched to training mode since."""
        if not isinstance(parameters, dict):
            raise ValueError("an empirical loss takes a dict of parameters, as loss.parameters() returns")
        if parameters.keys() != set(self.names):
            missing = [name for name in self.names if name not in parameters]
            surplus = [name for name in parameters if name not in self.names]
            own = {name for name, _ in self.model.named_parameters()}
            frozen = [name for name in surplus if name in own]
            raise ValueError(
                f"parameters do not match the model's trainable ones: missing {missing}, not expected {surplus}"
                + (f"; frozen (requires_grad=False) and so not differentiated: {frozen}" if frozen else "")
                + ". Pass loss.parameters(), or unfreeze with requires_grad_(True) and make the loss again."
            )
        if isinstance(self.inputs, Tensor) and self.inputs.is_floating_point():
            for name, entry in parameters.items():
                if entry.dtype != self.inputs.dtype and not entry.is_complex():
                    raise ValueError(
                        f"parameters[{name!r}] is {entry.dtype} but the inputs are {self.inputs.dtype}; convert the "
                        "model (model.double() or model.float()), the inputs and the parameters to one dtype"
                    )
        refuse_training_mode(self.model)


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


def named(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters of a model, by name.

    Raises:
        ValueError: a single tensor.
    """
    if not isinstance(parameters, dict):
        raise ValueError("an empirical loss takes a dict of parameters, as loss.parameters() returns")
    return parameters


def _shapes(batch: Any) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in batches.tensors(batch))


def refuse_training_mode(model: nn.Module) -> None:
    """A loss with batch statistics or random masks is not a function of the parameters alone."""
    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, _BATCH_NORMS):
            raise ValueError(
                f"{name or 'model'} ({type(module).__name__}) is in training mode: it couples the samples of a batch and "
                "changes its running statistics at every call, so the loss is no fixed function of the parameters. "
                "Call model.eval() first."
            )
        dropout = module.p if isinstance(module, _DROPOUTS) else getattr(module, "dropout", 0.0)
        if isinstance(dropout, float) and dropout > 0:
            raise ValueError(
                f"{name or 'model'} ({type(module).__name__}, dropout {dropout}) is in training mode: the loss is random "
                "and its second derivatives belong to no fixed function. Call model.eval() first."
            )


def known(condition: Tensor) -> bool | None:
    """The truth of a 0-dim tensor, or None where runs are batched and there is no single answer."""
    try:
        return bool(condition)
    except RuntimeError:
        return None


def _check_value(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> None:
    outputs, targets, samples = loss.outputs(parameters), loss.targets, loss.samples
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        shapes = {tuple(outputs.shape), tuple(targets.shape)}
        if targets.is_floating_point() and shapes == {(samples,), (samples, 1)} and samples > 1:
            raise ValueError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} would broadcast to "
                f"({samples}, {samples}); reshape the targets with targets.reshape(outputs.shape)"
            )
    value = loss.data_loss(parameters, loss.inputs, targets)
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
    again = loss.data_loss(parameters, loss.inputs, targets)
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
    with torch.enable_grad(), plain_kernels(), untouched(loss.model), in_words("the gradient", [loss.model]):
        try:
            value = loss.loss_function(batches.call(loss.model, inputs), targets)
        except (RuntimeError, ValueError, IndexError, TypeError):  # a model of all samples at once: a graph, a mask
            inputs, targets = loss.inputs, loss.targets
            value = loss.loss_function(batches.call(loss.model, inputs), targets)
        found = _gradients(value, list(own.values()))
        with loss.places.holding(leaves):
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
            raise ValueError(
                f"the model reads parameter {name!r} from a place where it cannot be replaced (a plain list, an attribute "
                "beside the registered parameter, a compiled function), so derivatives would miss it; read it through the "
                "module that registers it"
            )


def _gradients(value: Tensor, tensors: list[Tensor]) -> list[Tensor | None]:
    if not value.requires_grad:
        return [None] * len(tensors)
    return list(torch.autograd.grad(value, tensors, allow_unused=True))
