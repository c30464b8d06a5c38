"""Embedding networks of many seeds at once: every parameter has a leading dimension `net`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench import draws
from workbench.problems.networks import StackedMLP, initialise, named_parameters, preactivation_resnet18

Parameters = dict[str, Tensor]
CLASSIFIER = ("classifier.weight", "classifier.bias")


class Embedding(Protocol):
    """f(x; phi): outputs are not negative. `noisy` names the weights that get noise, are fine-tuned and clamped."""

    @property
    def noisy(self) -> tuple[str, ...]: ...

    def initial(self, seeds: Sequence[int]) -> Parameters: ...

    def embed(
        self, parameters: Parameters, inputs: Float[Tensor, "net sample ..."]
    ) -> Float[Tensor, "net sample feature"]: ...

    @property
    def features(self) -> int: ...


@dataclass(frozen=True)
class Dense:
    """sizes[0] -> ... -> sizes[-1] with ReLU after every layer; weights from He's normal law, biases 0."""

    sizes: tuple[int, ...] = (64, 128, 64)

    @property
    def _network(self) -> StackedMLP:
        return StackedMLP(self.sizes, batch_norm=False)

    @property
    def noisy(self) -> tuple[str, ...]:
        """Every weight matrix."""
        return tuple(f"{index}.weight" for index in range(len(self.sizes) - 1))

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return self.sizes[-1]

    def initial(self, seeds: Sequence[int]) -> Parameters:
        """Weights N(0, 2/fan_in), one net per seed."""
        parameters = self._network.initial(seeds)
        # The library's last layer has no ReLU after it, so that its variance is half of He's.
        parameters[self.noisy[-1]] = math.sqrt(2) * parameters[self.noisy[-1]]
        return parameters

    def embed(
        self, parameters: Parameters, inputs: Float[Tensor, "net sample ..."]
    ) -> Float[Tensor, "net sample feature"]:
        """Embeddings; images are flattened."""
        return torch.relu(self._network.forward(parameters, inputs.flatten(2)))


@dataclass(frozen=True)
class Convolutional:
    """Four 3x3 convolutions without bias, GroupNorm(8) and ReLU after each, 2x2 maxima after the second and third, a mean over
    the image. Noise on the last two.
    """

    channels: tuple[int, int, int, int, int] = (3, 32, 32, 64, 64)

    @property
    def noisy(self) -> tuple[str, ...]:
        """The last two convolutions."""
        return ("2.weight", "3.weight")

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return self.channels[-1]

    def initial(self, seeds: Sequence[int]) -> Parameters:
        """Weights N(0, 2/fan_in), normalisations 1 and 0."""
        parameters: Parameters = {}
        for index, (fan_in, fan_out) in enumerate(zip(self.channels[:-1], self.channels[1:], strict=True)):
            numbers = [
                draws.normal(seed, (fan_out, fan_in, 3, 3), stream=f"initial {index}", dtype=torch.float32)
                for seed in seeds
            ]
            parameters[f"{index}.weight"] = math.sqrt(2 / (9 * fan_in)) * torch.stack(numbers)
            parameters[f"{index}.scale"] = torch.ones(len(seeds), fan_out)
            parameters[f"{index}.shift"] = torch.zeros(len(seeds), fan_out)
        return parameters

    def embed(
        self, parameters: Parameters, inputs: Float[Tensor, "net sample channel row column"]
    ) -> Float[Tensor, "net sample feature"]:
        """Embeddings, net by net."""
        return torch.stack(
            [
                self._one({name: value[net] for name, value in parameters.items()}, images)
                for net, images in enumerate(inputs)
            ]
        )

    def _one(self, parameters: Parameters, images: Tensor) -> Tensor:
        values = images
        for index in range(len(self.channels) - 1):
            values = functional.conv2d(values, parameters[f"{index}.weight"], padding=1)
            values = functional.group_norm(values, 8, parameters[f"{index}.scale"], parameters[f"{index}.shift"])
            values = torch.relu(values)
            if index in (1, 2):
                values = functional.max_pool2d(values, 2)
        return values.mean((-2, -1))


@dataclass(frozen=True)
class Residual:
    """The pre-activation ResNet-18 with GroupNorm, for images at the paper's scale. Noise on the last `n_noisy` convolutions."""

    width: int = 64
    n_noisy: int = 4

    @functools.cached_property
    def _module(self) -> nn.Module:
        module = preactivation_resnet18(1, width=self.width)
        module.head = nn.Identity()  # type: ignore[assignment]
        return module

    @property
    def noisy(self) -> tuple[str, ...]:
        """The last convolutions of the residual blocks."""
        return tuple(
            name for name, value in self._module.named_parameters() if value.dim() == 4 and "shortcut" not in name
        )[-self.n_noisy :]

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return 8 * self.width

    def initial(self, seeds: Sequence[int]) -> Parameters:
        """Weights N(0, 2/fan_in), normalisations 1 and 0."""
        nets = [named_parameters(initialise(self._module, seed)) for seed in seeds]
        return {name: torch.stack([net[name] for net in nets]) for name in nets[0]}

    def embed(
        self, parameters: Parameters, inputs: Float[Tensor, "net sample channel row column"]
    ) -> Float[Tensor, "net sample feature"]:
        """Embeddings, net by net."""
        own = {name: value for name, value in parameters.items() if name not in CLASSIFIER}
        return torch.stack(
            [
                torch.func.functional_call(self._module, {name: value[net] for name, value in own.items()}, (images,))
                for net, images in enumerate(inputs)
            ]
        )


def classifier(seeds: Sequence[int], features: int, n_classes: int) -> Parameters:
    """The linear classifier psi of base training: weights N(0, 0.01^2), biases 0."""
    weights = [draws.normal(seed, (features, n_classes), stream="classifier", dtype=torch.float32) for seed in seeds]
    return {
        CLASSIFIER[0]: 0.01 * torch.stack(weights),
        CLASSIFIER[1]: torch.zeros(len(seeds), 1, n_classes),
    }


def logits(
    parameters: Parameters, embedded: Float[Tensor, "net sample feature"]
) -> Float[Tensor, "net sample base_class"]:
    """The classifier on embeddings."""
    return embedded @ parameters[CLASSIFIER[0]] + parameters[CLASSIFIER[1]]
