"""Whether a module's parameters are those of affine layers through which alone the loss sees them."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from workbench.curvature import batches
from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.flat import pullback

from .structure import Layer, Structure
from .taps import hooked, run_with


def analyse(loss: EmpiricalLoss, parameters: dict[str, Tensor]) -> Structure | None:
    """The structure taps need, or None where it does not hold.

    It holds when every trainable parameter is the weight or bias of a plain `nn.Linear` or `nn.Conv2d` that runs exactly
    once, with the samples in the first dimension, and reaches the loss through that layer alone. The last is tested by
    cutting the network at every layer: with inputs and outputs replaced by constants, no parameter has a gradient left.
    """
    found = _affine_layers(loss, parameters)
    if found is None:
        return None
    inputs, targets = loss.some(slice(0, 3))
    try:
        layers, outputs = _layers(loss, found, parameters, inputs, targets)
        # A layer's first dimension must follow the number of samples: three time steps are not three samples.
        fewer, _ = _layers(loss, found, parameters, *loss.some(slice(0, 2 if loss.samples > 2 else 1)))
        if not layers or [(one.positions, one.width) for one in layers] != [
            (one.positions, one.width) for one in fewer
        ]:
            return None
        return _cut(loss, layers, parameters, inputs, targets, outputs)
    except Exception as error:
        # An operation without the derivatives or batching rule the test needs, or a model that takes no part of the
        # samples: Hessian-vector products decide then.
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None


def _layers(loss, found, parameters, inputs: Any, targets: Any) -> tuple[tuple[Layer, ...], list[Tensor]]:
    """The layers in the order in which they run and their outputs; none where one does not treat samples by themselves."""
    recorded = _record(loss, found, parameters, inputs, targets)
    if recorded is None:
        return (), []
    order, outputs = recorded
    samples, layers = batches.count("inputs", inputs), []
    for index, output in zip(order, outputs, strict=True):
        module, weight, bias = found[index]
        convolution = isinstance(module, nn.Conv2d)
        width = output.shape[1] if convolution else output.shape[-1]
        if output.ndim < 2 or output.shape[0] != samples or (convolution and output.ndim != 4):
            return (), []
        layers.append(Layer(module, weight, bias, output[0].numel() // width, width))
    return tuple(layers), outputs


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
        if type(module) not in (nn.Linear, nn.Conv2d) or name not in ("weight", "bias"):
            return None
        if isinstance(module, nn.Conv2d) and (
            module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str)
        ):
            return None
        found.setdefault(module, {})[name] = full
    return [(module, names.get("weight"), names.get("bias")) for module, names in found.items()]


def _record(loss: EmpiricalLoss, found: list[tuple], parameters, inputs: Any, targets: Any):
    """Order in which the layers run and their outputs; None unless each runs exactly once."""
    order: list[int] = []
    outputs: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        for index, (module, _, _) in enumerate(found):
            stack.enter_context(
                hooked(
                    module,
                    index,
                    lambda index, values: values,
                    lambda index, values: (order.append(index), outputs.append(values.clone()), values)[2],
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
            lambda index, _: held[index].clone(),
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
