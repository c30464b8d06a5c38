"""Any `torch.nn.Module` as a pure function of a dict of tensors."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import draws
from workbench.draws import Seed


@dataclass(frozen=True, eq=False)
class ModuleNetwork:
    """The module's forward pass through `torch.func.functional_call`.

    Batch normalisation must not keep running statistics (they are state, which a pure function has not): such layers
    raise ValueError with the remedy. Modules in training mode with random layers (dropout) are refused for the same reason.
    """

    module: nn.Module

    def __post_init__(self) -> None:
        for name, layer in self.module.named_modules():
            if getattr(layer, "track_running_stats", False) and layer.training:
                raise ValueError(
                    f"layer {name!r} ({type(layer).__name__}) keeps running statistics; build it with "
                    "track_running_stats=False or norm='group', or call .eval() on the model"
                )
            if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0:
                raise ValueError(f"layer {name!r} ({type(layer).__name__}) is random; call .eval() on the model")

    @functools.cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Shapes of the trainable parameters by name."""
        return {name: value.shape for name, value in self.module.named_parameters() if value.requires_grad}

    @property
    def n_parameters(self) -> int:
        """P."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def as_module(self, like: Tensor) -> nn.Module:
        """The module in evaluation mode (nothing depends on the mode, as was checked), in `like`'s dtype on its device."""
        return copy.deepcopy(self.module).eval().to(device=like.device, dtype=like.dtype)

    def initial(self, seed: Seed, init: str | float, dtype: torch.dtype) -> dict[str, Tensor]:
        """Random weights as in `Multilayer.initial` (fan_in = all dimensions but the first; zero biases).

        One-dimensional weights are a normalisation's scale and start at one.
        """
        numbers = draws.normal(seed, (self.n_parameters,), stream="initial", dtype=dtype)
        pieces = numbers.split([math.prod(shape) for shape in self.shapes.values()])
        parameters = {}
        for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True):
            entries = piece.reshape(shape)
            if not isinstance(init, str):
                parameters[name] = init * entries
            elif len(shape) > 1:
                parameters[name] = math.sqrt({"lecun": 1.0, "he": 2.0}[init] / math.prod(shape[1:])) * entries
            else:
                parameters[name] = torch.ones_like(entries) if name.endswith("weight") else torch.zeros_like(entries)
        return parameters

    def forward(
        self, parameters: dict[str, Tensor], inputs: Float[Tensor, "sample ..."]
    ) -> Float[Tensor, "sample output"]:
        """The module's outputs."""
        return torch.func.functional_call(self.module, parameters, (inputs,))
