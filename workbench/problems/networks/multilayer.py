"""Fully connected networks as pure functions of a dict of tensors, with the initialisations used on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count, require_positive
from workbench.draws import Seed

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
    "identity": lambda preactivation: preactivation,
}
# From an activation's argument and value. Written out, a gradient takes a third of the time of tape and vmap together.
DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda argument, value: 1 - value * value,
    "relu": lambda argument, value: torch.sign(value),  # the value is >= 0; a third of the time of a comparison
    "softplus": lambda argument, value: torch.sigmoid(argument),
    "gelu": lambda argument, value: (
        0.5 * (1 + torch.erf(argument / math.sqrt(2)))
        + argument * torch.exp(-0.5 * argument**2) / math.sqrt(2 * math.pi)
    ),
    "sigmoid": lambda argument, value: value * (1 - value),
    "identity": lambda argument, value: torch.ones_like(value),
}
MODULES: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
INITIALISATIONS = ("lecun", "he")


@dataclass(frozen=True)
class Multilayer:
    """sizes[0] -> ... -> sizes[-1] with biases, the activation between layers.

    Parameters are named as in the `torch.nn.Sequential` of `networks.mlp` ("0.weight", "0.bias", "2.weight", ...).
    """

    sizes: tuple[int, ...]
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise ValueError(f"sizes must name at least inputs and outputs, got {list(self.sizes)}")
        for size in self.sizes:
            require_count("every entry of sizes", size)
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every layer."""
        return list(itertools.pairwise(self.sizes))

    @property
    def n_parameters(self) -> int:
        """P."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.layers)

    def as_module(self, like: Tensor) -> nn.Module:
        """The same network as a module with the same parameter names, on `like`'s device and in its dtype."""
        values, layers = self.initial(0, "lecun", like.dtype), []
        for index, (fan_in, fan_out) in enumerate(self.layers):
            # Linear's own __init__ draws from torch's global generator, which belongs to the user and is forbidden in sweeps.
            linear = nn.Linear.__new__(nn.Linear)
            nn.Module.__init__(linear)
            vars(linear).update(in_features=fan_in, out_features=fan_out)
            linear.weight = nn.Parameter(values[f"{2 * index}.weight"].to(like.device))
            linear.bias = nn.Parameter(values[f"{2 * index}.bias"].to(like.device))
            layers += [linear, MODULES[self.activation]()]
        return nn.Sequential(*layers[:-1])

    def initial(self, seed: Seed, init: str | float, dtype: torch.dtype) -> dict[str, Tensor]:
        """Random parameters: "lecun" N(0, 1/fan_in) and "he" N(0, 2/fan_in) weights with zero biases, or every parameter
        (biases too) N(0, init^2) where `init` is a number.
        """
        numbers = draws.normal(seed, (self.n_parameters,), stream="initial", dtype=dtype)
        parameters, used = {}, 0
        for index, (fan_in, fan_out) in enumerate(self.layers):
            deviation = init if not isinstance(init, str) else math.sqrt({"lecun": 1.0, "he": 2.0}[init] / fan_in)
            weight = deviation * numbers[used : used + fan_in * fan_out].reshape(fan_out, fan_in)
            bias = (0.0 if isinstance(init, str) else init) * numbers[
                used + fan_in * fan_out : used + (fan_in + 1) * fan_out
            ]
            parameters |= {f"{2 * index}.weight": weight, f"{2 * index}.bias": bias}
            used += (fan_in + 1) * fan_out
        return parameters

    def forward(
        self, parameters: dict[str, Tensor], inputs: Float[Tensor, "sample feature"]
    ) -> Float[Tensor, "sample output"]:
        """The network's outputs."""
        activate, hidden, last = ACTIVATIONS[self.activation], inputs, len(self.layers) - 1
        for index in range(last + 1):
            hidden = hidden @ parameters[f"{2 * index}.weight"].mT + parameters[f"{2 * index}.bias"]
            hidden = hidden if index == last else activate(hidden)
        return hidden

    def gradient(
        self,
        parameters: dict[str, Tensor],
        inputs: Float[Tensor, "sample feature"],
        slope: Callable[[Float[Tensor, "sample output"]], Float[Tensor, "sample output"]],
    ) -> dict[str, Tensor]:
        """The gradient by backpropagation; `slope` gives the loss's derivative with respect to the outputs."""
        activate, derivative = ACTIVATIONS[self.activation], DERIVATIVES[self.activation]
        last, values, arguments = len(self.layers) - 1, [inputs], []
        for index in range(last + 1):
            argument = values[-1] @ parameters[f"{2 * index}.weight"].mT + parameters[f"{2 * index}.bias"]
            arguments.append(argument)
            values.append(argument if index == last else activate(argument))
        delta, found = slope(values[-1]), {}
        for index in range(last, -1, -1):
            found |= {f"{2 * index}.weight": delta.mT @ values[index], f"{2 * index}.bias": delta.sum(0)}
            if index > 0:
                delta = (delta @ parameters[f"{2 * index}.weight"]) * derivative(arguments[index - 1], values[index])
        return {name: found[name] for name in parameters}


def require_init(init: str | float) -> None:
    """Raise ValueError unless `init` is a known scheme or a positive deviation."""
    if isinstance(init, str):
        if init not in INITIALISATIONS:
            raise ValueError(
                f"init must be {', '.join(map(repr, INITIALISATIONS))} or a standard deviation, got {init!r}"
            )
    else:
        require_positive("init", init)


def require_sizes(hidden: Sequence[int]) -> tuple[int, ...]:
    """The hidden widths as a tuple; raises ValueError for anything but a list of ints >= 1."""
    if isinstance(hidden, (int, str)):
        raise ValueError(f"hidden must be a list of widths such as [32], got {hidden!r}")
    for width in hidden:
        require_count("every entry of hidden", width)
    return tuple(hidden)
