"""Taps: zeros added to the outputs of a module's affine layers, to differentiate with respect to instead of parameters.

A weight touches the loss only through `h = W z + b`, so its derivatives are those with respect to a tap on `h` times the
layer's input `z` (extended by a 1 for the bias). Taps are few (the layers' widths) where parameters are many, and
derivatives with respect to them exist per sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.curvature import batches

if TYPE_CHECKING:
    from workbench.curvature.empirical import EmpiricalLoss


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine layer with trainable parameters: `weight` and `bias` are their names, None where there is none."""

    module: nn.Linear | nn.Conv2d
    weight: str | None
    bias: str | None
    positions: int
    width: int

    @property
    def columns(self) -> int:
        """Length of the extended input: what one output's parameters multiply."""
        return self.weight_columns + (self.bias is not None)

    @property
    def weight_columns(self) -> int:
        return self.module.weight[0].numel() if self.weight else 0

    def rows(self, values: Tensor) -> Tensor:
        """The layer's output (or a derivative with respect to it) [sample, ...] as [sample, position, width]."""
        if isinstance(self.module, nn.Conv2d):
            return values.flatten(2).mT
        return values.reshape(values.shape[0], self.positions, self.width)

    def unit_taps(self, like: Tensor) -> Tensor:
        """One unit tap per position and unit, position-major, [position * width, *output]: a batch of directions."""
        count = self.positions * self.width
        unit = torch.eye(count, dtype=like.dtype, device=like.device)
        if isinstance(self.module, nn.Conv2d):
            unit = unit.reshape(count, self.positions, self.width).mT
        return unit.reshape(count, *like.shape[1:])

    def unfold(self, values: Tensor) -> Tensor:
        """What multiplies the weight at each position: the layer's input [sample, ...] as [sample, position, column]."""
        module = self.module
        if not isinstance(module, nn.Conv2d):
            return values.reshape(values.shape[0], self.positions, -1)
        padding = cast("tuple[int, ...]", module.padding)
        patches = functional.unfold(values, module.kernel_size, module.dilation, padding, module.stride)
        return patches.mT

    def extended(self, values: Tensor, one: float = 1.0) -> Tensor:
        """The unfolded input with a column for the bias (0 instead of 1 for a derivative), [sample, position, column]."""
        parts = [self.unfold(values)] if self.weight else []
        if self.bias:
            parts.append(values.new_full((values.shape[0], self.positions, 1), one))
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True, eq=False)
class Structure:
    """A module's affine layers in the order in which they run.

    `chain` says that all have a single position and that each one's input is an elementwise function of the previous
    one's output (a multi-layer perceptron), through which alone the loss sees it.
    """

    layers: tuple[Layer, ...]
    chain: bool


def run_with(
    layers: tuple[Layer, ...],
    evaluate: Callable[[], Tensor],
    on_output: Callable[[int, Tensor], Tensor],
    on_input: Callable[[int, Tensor], Tensor] = lambda index, values: values,
) -> Tensor:
    """Evaluate with the layers' inputs and outputs passed through two functions."""
    with contextlib.ExitStack() as stack:
        for index, layer in enumerate(layers):
            stack.enter_context(hooked(layer.module, index, on_input, on_output))
        return evaluate()


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def hooked(module: nn.Module, index: int, on_input: Callable, on_output: Callable) -> Iterator[None]:
    """The module with its input, given by position or by keyword, and its output passed through two functions."""

    def before(_: nn.Module, arguments: tuple, keywords: dict) -> tuple[tuple, dict]:
        if arguments:
            return (on_input(index, arguments[0]), *arguments[1:]), keywords
        return arguments, {**keywords, "input": on_input(index, keywords["input"])}

    first = module.register_forward_pre_hook(before, with_kwargs=True)
    second = module.register_forward_hook(lambda _, arguments, output: on_output(index, output))
    try:
        yield
    finally:
        first.remove()
        second.remove()


def zero_taps(
    loss: EmpiricalLoss, layers: tuple[Layer, ...], parameters: dict[str, Tensor], inputs: Any
) -> tuple[Tensor, ...]:
    """A zero for every output [sample, ...] of the layers; their shapes are found from one sample."""
    zeros: list[Tensor] = []
    samples = batches.count("inputs", inputs)

    def on_output(index: int, values: Tensor) -> Tensor:
        zeros.append(torch.zeros(samples, *values.shape[1:], dtype=values.dtype, device=values.device))
        return values

    run_with(layers, lambda: loss.outputs(parameters, batches.take(inputs, slice(0, 1))), on_output)
    return tuple(zeros)


def tapped_loss(
    loss: EmpiricalLoss, layers: tuple[Layer, ...], parameters: dict[str, Tensor], inputs: Any, targets: Any
) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]:
    """The data's share of the loss as a function of the last taps, and the inputs of their layers beside it.

    Given k taps they belong to the last k layers; the others have none.
    """

    def evaluate(taps: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        first = len(layers) - len(taps)
        seen: list[Tensor] = []

        def on_input(index: int, values: Tensor) -> Tensor:
            if index >= first:
                seen.append(values)
            return values

        def on_output(index: int, values: Tensor) -> Tensor:
            return values + taps[index - first] if index >= first else values

        value = run_with(layers, lambda: loss.data_loss(parameters, inputs, targets), on_output, on_input)
        return value * loss.share(batches.count("inputs", inputs)), tuple(seen)

    return evaluate
