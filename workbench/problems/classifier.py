"""Training a network on data: classification, or regression where the targets are numbers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from workbench.checks import require_count, require_nonnegative
from workbench.curvature import EmpiricalLoss, empirical_loss
from workbench.draws import Seed
from workbench.parameters import inner
from workbench.problems.base import Batch, Measure, Problem
from workbench.problems.networks.any_module import ModuleNetwork
from workbench.problems.networks.multilayer import Multilayer, require_init, require_sizes
from workbench.problems.samples import DataSet, count_classes, encoded, parts

LossName = Literal["squared", "cross_entropy"]
LossFunction = Callable[[Tensor, Tensor], Tensor]
"""`loss(outputs, targets)`: the mean over the samples."""


@dataclass(frozen=True, eq=False)
class Classifier(Problem[dict[str, Tensor]]):
    """A network, its data and its loss; parameters are a dict of tensors. `classifier` builds it.

    Targets are [sample, output]: one-hot rows for classes, the numbers themselves for regression. The loss is the mean
    over samples of 1/2 sum_k (f_k - t_k)^2 ("squared") or -sum_k t_k log softmax(f)_k ("cross_entropy"), or a function of
    outputs and targets (classes [sample] where there are classes), plus (weight_decay/2) |parameters|^2.
    """

    network: Multilayer | ModuleNetwork
    inputs: Float[Tensor, "sample ..."]
    targets: Float[Tensor, "sample output"]
    test_inputs: Float[Tensor, "test ..."]
    test_targets: Float[Tensor, "test output"]
    loss_function: LossName | LossFunction
    weight_decay: float | Tensor
    init: str | float
    classification: bool

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Seed) -> dict[str, Tensor]:
        return self.network.initial(seed, self.init, self.inputs.dtype)

    @functools.cached_property
    def empirical(self) -> EmpiricalLoss | None:
        """The same loss with its layers visible, by which `workbench.curvature` computes exact Hessians faster.

        None where the weight decay differs from run to run.
        """
        if isinstance(self.weight_decay, Tensor):
            return None
        module, function = self.network.as_module(self.inputs), self.loss_function
        if isinstance(function, str):
            return empirical_loss(module, _BY_NAME[function], self.inputs, self.targets, self.weight_decay)
        return empirical_loss(module, function, self.inputs, self._given(self.targets), self.weight_decay)

    def outputs(
        self, parameters: dict[str, Tensor], inputs: Float[Tensor, "sample ..."]
    ) -> Float[Tensor, "sample output"]:
        """The network's outputs."""
        return self.network.forward(parameters, inputs)

    def data_loss(
        self,
        parameters: dict[str, Tensor],
        inputs: Float[Tensor, "sample ..."],
        targets: Float[Tensor, "sample output"],
    ) -> Float[Tensor, ""]:
        """Mean loss over these samples, without weight decay."""
        return self._loss(self.network.forward(parameters, inputs), targets)

    def batch_outputs(self, parameters: dict[str, Tensor], batch: Batch) -> Float[Tensor, "sample output"]:
        if not (isinstance(self.weight_decay, (int, float)) and self.weight_decay == 0):
            raise ValueError(
                f"weight_decay={self.weight_decay!r} is part of this loss, which is no function of the outputs then; use 0"
            )
        return self.network.forward(parameters, batch[0])

    def output_loss(self, outputs: Float[Tensor, "sample output"], batch: Batch) -> Float[Tensor, ""]:
        return self._loss(outputs, batch[1])

    def _given(self, targets: Float[Tensor, "sample output"]) -> Num[Tensor, "sample ..."]:
        """Targets as a user's loss function takes them."""
        return targets.argmax(-1) if self.classification else targets

    def _loss(self, outputs: Float[Tensor, "sample ..."], targets: Float[Tensor, "sample ..."]) -> Tensor:
        own = not isinstance(self.loss_function, str)
        if outputs.shape != targets.shape and (self.classification or not own):
            advice = "for a model with another number of classes than the data give n_classes"
            classes = self.classification and outputs.dim() == 2 and outputs.shape[0] == targets.shape[0]
            raise ValueError(
                f"the network's outputs {tuple(outputs.shape)} must have the shape of the targets {tuple(targets.shape)}"
                + (f"; {advice}" if classes else "")
            )
        if isinstance(self.loss_function, str):
            return _BY_NAME[self.loss_function](outputs, targets)
        value = self.loss_function(outputs, self._given(targets))
        if not isinstance(value, Tensor) or value.dim():
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"loss must return one number, the mean over the samples, got {found}; end it with .mean()"
            )
        return value

    def error(
        self,
        parameters: dict[str, Tensor],
        inputs: Float[Tensor, "sample ..."],
        targets: Float[Tensor, "sample output"],
    ) -> Float[Tensor, ""]:
        """Fraction of these samples whose largest output is not the target's class; NaN for non-finite outputs."""
        outputs = self.network.forward(parameters, inputs)
        wrong = (outputs.argmax(-1) != targets.argmax(-1)).to(outputs.dtype)
        return torch.where(torch.isfinite(outputs).all(), wrong.mean(), torch.nan)

    def sample_loss(self, parameters: dict[str, Tensor], *sample: Tensor) -> Float[Tensor, ""]:
        inputs, target = sample
        return self.batch_loss(parameters, (inputs[None], target[None]))

    def batch_loss(self, parameters: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        loss = self.data_loss(parameters, *batch)
        if isinstance(self.weight_decay, (int, float)) and self.weight_decay == 0:
            return loss
        return loss + 0.5 * self.weight_decay * inner(parameters, parameters)

    def gradient(self, parameters: dict[str, Tensor], batch: Batch | None = None) -> dict[str, Tensor]:
        if not isinstance(self.network, Multilayer):
            return super().gradient(parameters, batch)
        inputs, targets = self.data if batch is None else batch

        def slope(outputs: Tensor) -> Tensor:
            if not isinstance(self.loss_function, str):
                return torch.func.grad(self._loss)(outputs, targets)
            # One-hot targets sum to one, which makes softmax minus target the derivative of the cross-entropy.
            predicted = outputs if self.loss_function == "squared" else torch.softmax(outputs, -1)
            return (predicted - targets) / inputs.shape[0]

        gradient = self.network.gradient(parameters, inputs, slope)
        if isinstance(self.weight_decay, (int, float)) and self.weight_decay == 0:
            return gradient
        return {name: value + self.weight_decay * parameters[name] for name, value in gradient.items()}

    @property
    def measures(self) -> Mapping[str, Measure]:
        parts = {"train": ("training", self.data), "test": ("test", (self.test_inputs, self.test_targets))}
        own = {}
        for part, (word, samples) in parts.items():
            if len(samples[0]) == 0:
                continue
            own[f"{part}_loss"] = Measure(_on(self.data_loss, samples), f"{word} loss (without weight decay)")
            if self.classification:
                own[f"{part}_error"] = Measure(_on(self.error, samples), f"{word} error", "fraction")
        return {**super().measures, **own}


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * ((outputs - targets) ** 2).sum(-1).mean()


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * torch.log_softmax(outputs, -1)).sum(-1).mean()


_BY_NAME: dict[str, LossFunction] = {"squared": _squared, "cross_entropy": _cross_entropy}


def _on(quantity, samples: Batch):
    return lambda parameters: quantity(parameters, *samples)


def classifier(
    data: DataSet | tuple[Tensor, ...] | Iterable[Any],
    hidden: Sequence[int] = (32,),
    activation: str = "tanh",
    loss: LossName | LossFunction = "squared",
    *,
    model: nn.Module | None = None,
    weight_decay: float | Tensor = 0.0,
    init: str | float | None = None,
    n_classes: int | None = None,
    dtype: torch.dtype | None = None,
) -> Classifier:
    """A problem from a data set and a network; seeds, splits and hyper-parameters may differ between runs of a sweep.

    data: from `workbench.data.load`, or (inputs, targets) or (inputs, targets, test_inputs, test_targets), or a loader of
        (inputs, targets), which is read once, or two: (train_loader, test_loader). Integer targets are classes,
        floating-point ones [sample] or [sample, output] are regressed on.
    hidden, activation: widths of the hidden layers of a fully connected network (inputs are flattened) and "tanh",
        "relu", "softplus", "gelu", "sigmoid" or "identity".
    loss: "squared" (mean of 1/2 sum_k of squared errors, on one-hot targets for classes), "cross_entropy", or any function
        `loss(outputs, targets)` that returns the mean over the samples; targets are classes [sample] or numbers
        [sample, output]. It is called under `torch.func.vmap`: no `if` on values, no random numbers.
    model: any `torch.nn.Module` instead of the fully connected network.
    weight_decay: (weight_decay/2)|w|^2 of all parameters is part of the loss, so SAM's ascent sees it too.
    init: "lecun" (weights N(0, 1/fan_in), biases 0), "he" (N(0, 2/fan_in), biases 0), or a number: the standard
        deviation of every parameter. Default: "he" for ReLU and for a `model`, "lecun" otherwise.
    n_classes: taken from the data unless given.
    dtype: of parameters and data; default that of the inputs.
    Raises ValueError for unknown names, values out of range and targets that do not fit.

    >>> problem = classifier((torch.randn(8, 4), torch.arange(8) % 3), hidden=[5])
    >>> {name: tuple(value.shape) for name, value in problem.initial(0).items()}
    {'0.weight': (5, 4), '0.bias': (5,), '2.weight': (3, 5), '2.bias': (3,)}
    """
    if not callable(loss) and loss not in get_args(LossName):
        raise ValueError(
            f"loss must be one of {', '.join(get_args(LossName))} or a function loss(outputs, targets), got {loss!r}"
        )
    require_nonnegative("weight_decay", weight_decay)
    train_inputs, train_targets, test_inputs, test_targets = parts(data)
    dtype = dtype or (train_inputs.dtype if train_inputs.is_floating_point() else torch.get_default_dtype())
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, got {dtype}")
    if n_classes is not None:
        require_count("n_classes", n_classes)
    classification = not train_targets.is_floating_point()
    if classification:
        n_classes = n_classes or getattr(data, "n_classes", 0) or count_classes(train_targets)
    elif loss == "cross_entropy":
        raise ValueError(f"loss='cross_entropy' needs integer class targets, got {train_targets.dtype}; use 'squared'")
    if model is None:
        train_inputs, test_inputs = train_inputs.flatten(1), test_inputs.flatten(1)
    train_targets, test_targets = (encoded(t, n_classes, dtype) for t in (train_targets, test_targets))
    if model is None:
        sizes = (train_inputs.shape[1], *require_sizes(hidden), train_targets.shape[1])
        network: Multilayer | ModuleNetwork = Multilayer(sizes, activation)
    else:
        network = ModuleNetwork(copy.deepcopy(model).to(dtype))
    if init is None:
        init = "he" if model is not None or activation == "relu" else "lecun"
    require_init(init)
    return Classifier(
        network, train_inputs.to(dtype), train_targets, test_inputs.to(dtype), test_targets,
        loss, weight_decay, init, classification,
    )  # fmt: skip


def circle(width: int = 16) -> Classifier:
    """Five points on the unit circle and a tanh network with 4 width + 1 parameters (65), as in the study of eigenvalue
    filtering (arXiv:2510.09034): angles 2 pi j/5, targets (1, -1, 1, -1, 1/2), every parameter N(0, 1/4), float64.
    """
    angles = 2 * torch.pi * torch.arange(5, dtype=torch.float64) / 5
    points = torch.stack([angles.cos(), angles.sin()], 1)
    targets = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    return classifier((points, targets), hidden=[width], activation="tanh", loss="squared", init=0.5)
