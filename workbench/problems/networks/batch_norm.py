"""Small networks with batch normalisation: statistics of the minibatch in training, recomputed once at the end.

Train in training mode; then `optimizers.recompute_batch_norm(network, batches)` on the clean training samples, and evaluate
in evaluation mode. Statistics of a test batch would be adaptation to the test samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from workbench import draws
from workbench.checks import require_count

Head = Literal["mean", "flatten"]


def batch_norm_mlp(sizes: Sequence[int], *, norm: bool = True) -> nn.Sequential:
    """sizes[0] -> ... -> sizes[-1] with batch normalisation (or none) before every ReLU; images are flattened.

    Raises ValueError for fewer than two sizes or a size below 1.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least inputs and outputs, got {list(sizes)}")
    for size in sizes:
        require_count("every entry of sizes", size)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
        layers.append(nn.Linear(fan_in, fan_out, bias=not norm))  # normalisation takes a bias away again
        layers += [*([nn.BatchNorm1d(fan_out)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def batch_norm_cnn(
    n_classes: int = 10,
    channels: int = 1,
    widths: Sequence[int] = (8, 16, 32),
    strides: Sequence[int] = (2, 2, 2),
    *,
    head: Head = "mean",
    size: int | None = None,
    norm: bool = True,
) -> nn.Sequential:
    """3x3 convolutions with these strides, each with batch normalisation (or none) and ReLU, then a linear layer.

    head: "mean" averages over the image first (images of any size), "flatten" keeps the places and needs `size`, the side of
    the square images. Raises ValueError where widths and strides differ in length, or the size is missing.
    """
    for name, count in (("n_classes", n_classes), ("channels", channels)):
        require_count(name, count)
    if len(widths) != len(strides) or not widths:
        raise ValueError(
            f"widths and strides must have one entry per convolution, got {list(widths)} and {list(strides)}"
        )
    for entry in (*widths, *strides):
        require_count("every entry of widths and strides", entry)
    if head not in get_args(Head):
        raise ValueError(f"head must be one of {', '.join(get_args(Head))}, got {head!r}")
    layers: list[nn.Module] = []
    for (fan_in, fan_out), stride in zip(itertools.pairwise((channels, *widths)), strides, strict=True):
        layers.append(nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=not norm))
        layers += [*([nn.BatchNorm2d(fan_out)] if norm else []), nn.ReLU()]
    if head == "mean":
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], n_classes))
    require_count("size (the side of the images, for head='flatten')", size)
    side = size or 1
    for stride in strides:
        side = (side - 1) // stride + 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side * side, n_classes))


def initialise(module: nn.Module, seed: int) -> nn.Module:
    """Set the weights from a seed, in place: N(0, 2/fan_in), the last matrix N(0, 1/fan_in), biases 0, normalisations 1 and 0.

    Returns the module.
    """
    matrices = [name for name, value in module.named_parameters() if value.dim() > 1]
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            gain = 1.0 if name == matrices[-1] else 2.0
            numbers = draws.normal(seed, tuple(parameter.shape), stream=f"initial {name}", dtype=parameter.dtype)
            parameter.data.copy_(math.sqrt(gain / math.prod(parameter.shape[1:])) * numbers)
        else:
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
    return module


def hidden_layers(network: nn.Sequential) -> list[nn.Module]:
    """The ReLUs, whose outputs are the network's hidden values."""
    return [layer for layer in network if isinstance(layer, nn.ReLU)]


def embedding(network: nn.Sequential, images: Float[Tensor, "sample ..."]) -> Float[Tensor, "sample feature"]:
    """What the last linear layer sees."""
    return network[:-1](images)
