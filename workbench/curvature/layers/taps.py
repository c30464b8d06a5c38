"""Taps: zeros added to the outputs of a module's affine layers, to differentiate with respect to instead of parameters.

A weight touches the loss only through `h = W z + b`, so its derivatives are those with respect to a tap on `h` times the
layer's input `z` (extended by a 1 for the bias). Taps are few (the layers' widths) where parameters are many, and
derivatives with respect to them exist per sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from workbench.curvature import batches
from workbench.curvature.empirical import EmpiricalLoss

from .structure import Layer


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
