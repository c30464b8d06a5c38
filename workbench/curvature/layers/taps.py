"""Taps: zeros added to the outputs of a module's affine layers, to differentiate with respect to instead of parameters.

A weight touches the loss only through `h = W z + b`, so its derivatives are those with respect to a tap on `h` times the
layer's input `z` (extended by a 1 for the bias). Taps are few (the layers' widths) where parameters are many, and
derivatives with respect to them exist per sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.curvature.flat import pullback

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
            stack.enter_context(_hooked(layer.module, index, on_input, on_output))
        return evaluate()


@contextlib.contextmanager
def _hooked(module: nn.Module, index: int, on_input: Callable, on_output: Callable) -> Iterator[None]:
    before = module.register_forward_pre_hook(lambda _, args: (on_input(index, args[0]),))
    after = module.register_forward_hook(lambda _, args, output: on_output(index, output))
    try:
        yield
    finally:
        before.remove()
        after.remove()


def zero_taps(
    loss: EmpiricalLoss, layers: tuple[Layer, ...], parameters: dict[str, Tensor], inputs: Tensor
) -> tuple[Tensor, ...]:
    """A zero for every output [sample, ...] of the layers; their shapes are found from one sample."""
    zeros: list[Tensor] = []

    def on_output(index: int, values: Tensor) -> Tensor:
        zeros.append(torch.zeros(len(inputs), *values.shape[1:], dtype=values.dtype, device=values.device))
        return values

    run_with(layers, lambda: loss.outputs(parameters, inputs[:1]), on_output)
    return tuple(zeros)


def tapped_loss(
    loss: EmpiricalLoss, layers: tuple[Layer, ...], parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
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
        return value * loss.share(len(inputs)), tuple(seen)

    return evaluate


def analyse(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> Structure | None:
    """The structure taps need, or None where it does not hold.

    It holds when every trainable parameter is the weight or bias of a plain `nn.Linear` or `nn.Conv2d` that runs exactly
    once, with the samples in the first dimension, and reaches the loss through that layer alone. The last is tested by
    cutting the network at every layer: with inputs and outputs replaced by constants, no parameter has a gradient left.
    """
    found = _affine_layers(loss, parameters)
    if found is None:
        return None
    inputs, targets = loss.inputs[:3], loss.targets[:3]
    try:
        recorded = _record(loss, found, parameters, inputs, targets)
        if recorded is None:
            return None
        order, outputs = recorded
        layers = []
        for index, output in zip(order, outputs, strict=True):
            module, weight, bias = found[index]
            width = output.shape[1] if isinstance(module, nn.Conv2d) else output.shape[-1]
            if (
                output.shape[0] != len(inputs)
                or output.ndim < 2
                or (isinstance(module, nn.Conv2d) and output.ndim != 4)
            ):
                return None
            layers.append(Layer(module, weight, bias, output[0].numel() // width, width))
        return _cut(loss, tuple(layers), parameters, inputs, targets, outputs)
    except (RuntimeError, NotImplementedError):
        # An operation without the derivatives or batching rule the test needs: Hessian-vector products decide then.
        return None


def _affine_layers(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> list[tuple] | None:
    owners: dict[str, tuple[nn.Module, str]] = {}
    for path, module in loss.model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            owners[f"{path}.{name}" if path else name] = (module, name)
    aliases = [name for name, _ in loss.model.named_parameters(remove_duplicate=False)]
    if len(aliases) != len(set(map(id, loss.model.parameters()))):
        return None
    found: dict[nn.Module, dict[str, str]] = {}
    for full in parameters:
        module, name = owners[full]
        if type(module) not in (nn.Linear, nn.Conv2d):
            return None
        if isinstance(module, nn.Conv2d) and (
            module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str)
        ):
            return None
        found.setdefault(module, {})[name] = full
    return [(module, names.get("weight"), names.get("bias")) for module, names in found.items()]


def _record(loss: EmpiricalLoss, found: list[tuple], parameters, inputs: Tensor, targets: Tensor):
    """Order in which the layers run and their outputs; None unless each runs exactly once."""
    order: list[int] = []
    outputs: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        for index, (module, _, _) in enumerate(found):
            stack.enter_context(
                _hooked(
                    module,
                    index,
                    lambda index, values: values,
                    lambda index, values: (order.append(index), outputs.append(values), values)[2],
                )
            )
        with torch.no_grad():
            loss.data_loss(parameters, inputs, targets)
    return (order, outputs) if sorted(order) == list(range(len(found))) else None


def _cut(loss: EmpiricalLoss, layers: tuple[Layer, ...], parameters, inputs, targets, outputs) -> Structure | None:
    generator = torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    shifted = tuple(output + noise(output) * (0.1 + output.abs().amax()) for output in outputs)

    def pieces(parameters, held: tuple[Tensor, ...]):
        seen: list[Tensor] = []

        def on_input(index: int, values: Tensor) -> Tensor:
            seen.append(values)
            return values.detach()

        value = run_with(
            layers,
            lambda: loss.data_loss(parameters, inputs, targets),
            lambda index, _: held[index],
            on_input,
        )
        return value, tuple(seen)

    (value, seen), pull = pullback(pieces, parameters, shifted)
    if not torch.isfinite(value):
        return None

    def pulled(index: int | None, cotangent: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Pull back from the loss (None) or from the input of a layer."""
        zeros = [torch.zeros_like(entry) for entry in seen]
        if index is None:
            return pull((cotangent, tuple(zeros)))
        zeros[index] = cotangent
        return pull((torch.zeros_like(value), tuple(zeros)))

    def silent(tensors) -> bool:
        return all(not tensor.any() for tensor in tensors)

    from_loss = pulled(None, torch.ones_like(value))
    if not silent(from_loss[0].values()):
        return None
    chain = silent(from_loss[1][:-1]) and all(layer.positions == 1 for layer in layers)
    for index, entry in enumerate(seen):
        first, second = noise(entry), noise(entry)
        by_parameter, by_output = pulled(index, first)
        if not silent(by_parameter.values()):
            return None
        others = [tensor for at, tensor in enumerate(by_output) if at != index - 1]
        chain = chain and silent(others)
        if chain and index > 0:
            again = pulled(index, second)[1][index - 1]
            chain = entry.shape == by_output[index - 1].shape and torch.allclose(
                by_output[index - 1] * second, again * first, rtol=1e-4, atol=0.0
            )
    return Structure(layers, bool(chain))
