"""The loss of a module on a data set, as a function of its parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from workbench.parameters import inner

from . import batches
from .flat import Parameters
from .layers.structure import Layer, Structure
from .model import Places, untouched

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

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.ones(2, 1), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)  # w^2
    >>> loss
    EmpiricalLoss(Linear, mse_loss (mean), 2 samples)
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


def named(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters of a model, by name.

    Raises:
        ValueError: a single tensor.
    """
    if not isinstance(parameters, dict):
        raise ValueError("an empirical loss takes a dict of parameters, as loss.parameters() returns")
    return parameters


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
