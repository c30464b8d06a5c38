"""Many small fully connected networks of one shape at once: every parameter has a leading dimension `net`.

A product of stacks takes a third of the time of the products one after another, and what differs from net to net (seed,
radius, noise) is a number per net.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count

EPSILON = 1e-5
"""Added to the variance by batch normalisation, as torch does."""
Statistics = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class StackedMLP:
    """sizes[0] -> ... -> sizes[-1] with ReLU, and batch normalisation before each unless `batch_norm` is False.

    The statistics are those of the inputs given, as in training, or those handed in: `statistics(parameters, clean inputs)`,
    recomputed once at the end. Initial weights are N(0, 2/fan_in), the last layer's N(0, 1/fan_in), biases 0.
    """

    sizes: tuple[int, ...]
    batch_norm: bool = True

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise ValueError(f"sizes must name at least inputs and outputs, got {list(self.sizes)}")
        for size in self.sizes:
            require_count("every entry of sizes", size)

    def initial(self, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, Float[Tensor, "net ..."]]:
        """Parameters of one net per seed; nets of the same seed are equal."""
        parameters: dict[str, Tensor] = {}
        last = len(self.sizes) - 2
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(self.sizes)):
            deviation = math.sqrt((1.0 if index == last else 2.0) / fan_in)
            weights = [draws.normal(seed, (fan_in, fan_out), stream=f"initial {index}", dtype=dtype) for seed in seeds]
            parameters[f"{index}.weight"] = deviation * torch.stack(weights)
            if self.batch_norm and index < last:
                parameters[f"{index}.scale"] = torch.ones(len(seeds), 1, fan_out, dtype=dtype)
            parameters[f"{index}.bias"] = torch.zeros(len(seeds), 1, fan_out, dtype=dtype)
        return parameters

    def forward(
        self,
        parameters: dict[str, Float[Tensor, "net ..."]],
        inputs: Float[Tensor, "*net sample feature"],
        *,
        statistics: Statistics | None = None,
        perturbations: Sequence[Tensor] = (),
    ) -> Float[Tensor, "net sample output"]:
        """Outputs. `perturbations` are added to the first hidden values after their ReLU, [net, sample, width] each."""
        return self._run(parameters, inputs, statistics, perturbations)[0]

    def hidden(
        self,
        parameters: dict[str, Float[Tensor, "net ..."]],
        inputs: Float[Tensor, "*net sample feature"],
        *,
        statistics: Statistics | None = None,
    ) -> list[Float[Tensor, "net sample width"]]:
        """The hidden values, layer by layer, after their ReLU."""
        return self._run(parameters, inputs, statistics, ())[1]

    def statistics(
        self, parameters: dict[str, Float[Tensor, "net ..."]], inputs: Float[Tensor, "*net sample feature"]
    ) -> Statistics:
        """Mean and variance at every normalisation over these inputs: what evaluation freezes. Empty without normalisation."""
        return self._run(parameters, inputs, None, ())[2]

    def _run(
        self,
        parameters: dict[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None,
        perturbations: Sequence[Tensor],
    ) -> tuple[Tensor, list[Tensor], Statistics]:
        values, hidden, seen = inputs, [], []
        last = len(self.sizes) - 2
        for index in range(last + 1):
            values = values @ parameters[f"{index}.weight"]
            if index == last:
                break
            if self.batch_norm:
                mean, variance = statistics[index] if statistics is not None else _moments(values)
                seen.append((mean, variance))
                rate = parameters[f"{index}.scale"] * (variance + EPSILON).rsqrt()
                values = values * rate + (parameters[f"{index}.bias"] - mean * rate)
            else:
                values = values + parameters[f"{index}.bias"]
            values = torch.relu(values)
            hidden.append(values)
            if index < len(perturbations):
                values = values + perturbations[index]
        return values + parameters[f"{last}.bias"], hidden, seen


def sample_cross_entropy(
    outputs: Float[Tensor, "*net sample output"], targets: Float[Tensor, "*net sample output"]
) -> Float[Tensor, "*net sample"]:
    """Cross entropy of every sample with one-hot targets (an index would fail where targets differ from net to net)."""
    return -(targets * functional.log_softmax(outputs, -1)).sum(-1)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    mean = values.mean(-2, keepdim=True)
    return mean, (values - mean).square().mean(-2, keepdim=True)
