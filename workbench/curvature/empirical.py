"""The loss of a module on a data set, as a function of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from workbench.curvature.layers.taps import Layer, Structure, analyse
from workbench.parameters import inner

from .flat import Parameters

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_DROPOUTS = (nn.modules.dropout._DropoutNd,)


@dataclass(frozen=True, eq=False)
class EmpiricalLoss:
    """`loss_function(model(inputs), targets) + weight_decay / 2 |parameters|²`, a function of the parameters.

    Made by `empirical_loss`, which checks everything. `loss(parameters)` takes the trainable parameters as
    `torch.func.functional_call` does; `loss.parameters()` are the module's own. `hessian`, `spectrum`, the
    Gauss-Newton family, per-sample gradients and whatever multiplies blocks of vectors (density, trace) recognise it and
    use its structure where it has one (`loss.structure`).
    """

    model: nn.Module
    loss_function: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    weight_decay: float = 0.0
    names: tuple[str, ...] = ()
    reduction: Literal["mean", "sum"] | None = field(default=None)
    structure: Structure | None = field(default=None, repr=False)

    def __call__(self, parameters: Parameters) -> Float[Tensor, ""]:
        self.check(parameters)
        return self.data_loss(parameters, self.inputs, self.targets) + self.penalty(parameters)

    def parameters(self) -> dict[str, Tensor]:
        """The module's trainable parameters (`requires_grad=True`), in its own order, sharing its memory."""
        return {name: entry.detach() for name, entry in self.model.named_parameters() if name in self.names}

    def sample_loss(self, parameters: Parameters, sample: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """The loss of one sample without weight decay; a mean (or sum, `reduction`) of these is the data's loss."""
        return self.data_loss(parameters, sample[None], target[None])

    def outputs(self, parameters: Parameters, inputs: Tensor | None = None) -> Tensor:
        """What the model predicts, [sample, ...]."""
        return functional_call(
            self.model, cast("dict[str, Tensor]", parameters), (self.inputs if inputs is None else inputs,)
        )

    def data_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Float[Tensor, ""]:
        """The loss on some of the data, without weight decay."""
        return self.loss_function(self.outputs(parameters, inputs), targets)

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
        return samples / len(self.inputs) if self.reduction == "mean" else 1.0

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
        if self.inputs.is_floating_point():
            for name, entry in parameters.items():
                if entry.dtype != self.inputs.dtype:
                    raise ValueError(
                        f"parameters[{name!r}] is {entry.dtype} but the inputs are {self.inputs.dtype}; convert the "
                        "model (model.double() or model.float()), the inputs and the parameters to one dtype"
                    )
        refuse_training_mode(self.model)


def empirical_loss(
    model: nn.Module,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    weight_decay: float = 0.0,
) -> EmpiricalLoss:
    """The loss of `model` on (`inputs`, `targets`), for everything in `wb.curvature`.

    `loss_function(outputs, targets)` returns one number, for instance `torch.nn.functional.cross_entropy`; whether it
    averages or sums over samples is found out by trying. Weight decay adds `weight_decay / 2 |parameters|²`, as SGD's
    option of that name does. Only parameters with `requires_grad=True` count; the others are constants.

    Whether exact Hessians can be assembled from the layers (all parameters in `nn.Linear` and `nn.Conv2d` modules, each
    called once) is found out here too; otherwise they come from Hessian-vector products, with the same result.

    Raises:
        ValueError: all parameters frozen; lengths, shapes or dtypes that do not fit; a loss that is not one finite
            number or not deterministic; BatchNorm or dropout in training mode.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    trainable = {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}
    if not trainable:
        raise ValueError("all parameters of the model are frozen (requires_grad=False); unfreeze those of interest")
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} must have the same number of samples "
            "in their first dimension"
        )
    if len(inputs) == 0:
        raise ValueError("inputs are empty; an empirical loss needs at least one sample")
    loss = EmpiricalLoss(model, loss_function, inputs, targets, weight_decay, tuple(trainable))
    loss.check(trainable)
    _check_value(loss, trainable)
    reduction = _reduction(loss, trainable)
    structure = analyse(loss, trainable) if reduction else None
    return EmpiricalLoss(model, loss_function, inputs, targets, weight_decay, tuple(trainable), reduction, structure)


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
    with torch.no_grad():
        outputs = loss.outputs(parameters)
        shapes = {tuple(outputs.shape), tuple(loss.targets.shape)} if isinstance(outputs, Tensor) else set()
        samples = len(loss.inputs)
        if loss.targets.is_floating_point() and shapes == {(samples,), (samples, 1)} and samples > 1:
            raise ValueError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(loss.targets.shape)} would broadcast to "
                f"({samples}, {samples}); reshape the targets with targets.reshape(outputs.shape)"
            )
        value = loss.loss_function(outputs, loss.targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss_function must return one number, got {shape}; use reduction='mean' or .mean()")
        if known(torch.isfinite(value).all()) is False:
            raise ValueError(
                f"the loss at the model's parameters is {value.item()}; look for non-finite inputs "
                f"({int((~torch.isfinite(loss.inputs)).sum())} of {loss.inputs.numel()}) or diverged parameters"
            )
        again = loss.data_loss(parameters, loss.inputs, loss.targets)
        tolerance = 1e3 * torch.finfo(value.dtype).eps * value.abs().clamp_min(1e-30)
        if known(((again - value).abs() <= tolerance).all()) is False:
            raise ValueError(
                f"the loss is not deterministic: two evaluations at the same parameters gave {value.item()!r} and "
                f"{again.item()!r}. Remove the randomness (model.eval(), fixed noise as data) first."
            )


def _reduction(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> Literal["mean", "sum"] | None:
    """How the loss combines samples, or None when they are coupled (by the model, by class weights, ...).

    The loss function is compared on all samples together and one by one, in float64 and with the outputs shifted by
    fixed noise, so that neither rounding nor a perfect fit hides the answer.
    """
    count = min(4, len(loss.inputs))
    few = loss.inputs[torch.linspace(0, len(loss.inputs) - 1, count).long().to(loss.inputs.device)]
    with torch.no_grad():
        try:
            outputs = loss.outputs(parameters)
            together = loss.outputs(parameters, few)
            alone = torch.cat([loss.outputs(parameters, few[i : i + 1]) for i in range(count)])
            if together.shape != alone.shape or len(together) != count or not together.is_floating_point():
                return None
            tolerance = torch.finfo(together.dtype).eps ** 0.5
            if not known(((together - alone).abs() <= tolerance * (1 + together.abs().amax())).all()):
                return None
            noise = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            outputs = outputs.double() + noise.to(outputs.device) * outputs.abs().amax().double().clamp_min(1.0)
            targets = loss.targets.double() if loss.targets.is_floating_point() else loss.targets
            whole = loss.loss_function(outputs, targets)
            parts = torch.func.vmap(lambda o, t: loss.loss_function(o[None], t[None]).reshape(()))(outputs, targets)
        except (RuntimeError, ValueError, TypeError):
            # A model or loss function that refuses single samples or another precision does not split.
            return None
        for name, combined in (("mean", parts.mean()), ("sum", parts.sum())):
            if known((whole - combined).abs() <= 1e-9 * parts.abs().mean().clamp_min(1e-30)):
                return name
    return None
