"""Networks as `torch.nn.Module`s, for `classifier(data, model=...)` and for people's own training loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench.checks import require_count
from workbench.problems.networks.multilayer import MODULES, Multilayer

__all__ = [
    "PreActivationResNet",
    "cnn",
    "count_parameters",
    "mlp",
    "named_parameters",
    "preactivation_resnet18",
    "preactivation_resnet34",
    "rotated_mnist_cnn",
    "wide_resnet",
]

Norm = Literal["group", "batch", "running"]
"""GroupNorm; BatchNorm of the present batch alone, a pure function; BatchNorm with statistics kept for evaluation, for training
loops of one's own."""


def mlp(sizes: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """A fully connected network sizes[0] -> ... -> sizes[-1]; inputs [sample, sizes[0]].

    Raises ValueError for fewer than two sizes or an unknown activation.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in Multilayer(tuple(sizes), activation).layers:
        layers += [nn.Linear(fan_in, fan_out), MODULES[activation]()]
    return nn.Sequential(*layers[:-1])


def cnn(
    n_classes: int = 10, channels: int = 1, widths: Sequence[int] = (8, 16), activation: str = "relu"
) -> nn.Sequential:
    """3x3 convolutions with 2x2 mean pooling after each, a global mean and a linear layer; images of any size."""
    require_count("n_classes", n_classes)
    require_count("channels", channels)
    Multilayer((channels, *widths, n_classes), activation)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((channels, *widths)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), MODULES[activation](), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], n_classes))


def rotated_mnist_cnn(n_classes: int = 10, *, width: int = 64, channels: int = 1) -> nn.Sequential:
    """DomainBed's network for RotatedMNIST: 3x3 convolutions to `width` and three times 2 `width` channels, the second with
    stride 2, ReLU and then GroupNorm(8) after each, a global mean and a linear layer.
    """
    if width % 8:
        raise ValueError(f"width must be a multiple of 8 (GroupNorm has 8 groups), got {width}")
    layers: list[nn.Module] = []
    fan_in = channels
    for fan_out, stride in ((width, 1), (2 * width, 2), (2 * width, 1), (2 * width, 1)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, stride, padding=1), nn.ReLU(), nn.GroupNorm(8, fan_out)]
        fan_in = fan_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, n_classes))


class PreActivationBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), with a 1x1 convolution on the short cut where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(fan_in), norm(fan_out)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        changes = stride != 1 or fan_in != fan_out
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False) if changes else None

    def forward(self, images: Float[Tensor, "sample channel row column"]) -> Tensor:
        active = functional.relu(self.norm1(images))
        skipped = images if self.shortcut is None else self.shortcut(active)
        return skipped + self.conv2(functional.relu(self.norm2(self.conv1(active))))


class PreActivationResNet(nn.Module):
    """Residual network with pre-activation blocks (arXiv:1603.05027); inputs [sample, channel, row, column].

    Weights start as Kaiming normal by fan-out.
    """

    def __init__(
        self, blocks: Sequence[int], widths: Sequence[int], stem: int, n_classes: int, channels: int, norm: Norm
    ) -> None:
        super().__init__()
        make_norm = _norm(norm)
        self.stem = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        stages, fan_in = [], stem
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(PreActivationBlock(fan_in, width, stride, make_norm))
                fan_in = width
        self.blocks = nn.Sequential(*stages)
        self.norm = make_norm(fan_in)
        self.head = nn.Linear(fan_in, n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "sample channel row column"]) -> Float[Tensor, "sample output"]:
        features = functional.relu(self.norm(self.blocks(self.stem(images))))
        return self.head(features.mean((2, 3)))


def preactivation_resnet18(
    n_classes: int = 10, *, width: int = 64, channels: int = 3, norm: Norm = "group"
) -> PreActivationResNet:
    """Four stages of two blocks, widths 1, 2, 4, 8 times `width`; "group": GroupNorm with width/2 groups."""
    return _preactivation((2, 2, 2, 2), n_classes, width, channels, norm)


def preactivation_resnet34(
    n_classes: int = 100, *, width: int = 64, channels: int = 3, norm: Norm = "group"
) -> PreActivationResNet:
    """Four stages of 3, 4, 6 and 3 blocks, widths 1, 2, 4, 8 times `width`; "group": GroupNorm with width/2 groups."""
    return _preactivation((3, 4, 6, 3), n_classes, width, channels, norm)


def wide_resnet(
    depth: int = 16, widening: int = 8, n_classes: int = 10, *, channels: int = 3, norm: Norm = "group"
) -> PreActivationResNet:
    """Wide residual network WRN-depth-widening (arXiv:1605.07146): three stages of (depth - 4)/6 blocks, widths 16, 32, 64
    times `widening`.

    Raises ValueError unless depth = 6 b + 4 with b >= 1.
    """
    require_count("depth", depth, 10)
    require_count("widening", widening)
    require_count("n_classes", n_classes)
    if (depth - 4) % 6:
        raise ValueError(f"depth must be 6 b + 4 (10, 16, 22, 28, ...), got {depth}")
    widths = [16 * widening, 32 * widening, 64 * widening]
    return PreActivationResNet([(depth - 4) // 6] * 3, widths, 16, n_classes, channels, norm)


def _preactivation(blocks: Sequence[int], n_classes: int, width: int, channels: int, norm: Norm) -> PreActivationResNet:
    require_count("n_classes", n_classes)
    require_count("channels", channels)
    require_count("width", width, 2)
    if width % 2:
        raise ValueError(f"width must be even (GroupNorm takes width/2 groups), got {width}")
    return PreActivationResNet(blocks, [width, 2 * width, 4 * width, 8 * width], width, n_classes, channels, norm)


def _norm(norm: Norm) -> Callable[[int], nn.Module]:
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")
    if norm == "group":
        return lambda width: nn.GroupNorm(width // 2, width)
    # Running statistics are state, which a loss of the parameters cannot have.
    return lambda width: nn.BatchNorm2d(width, track_running_stats=norm == "running")


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters P."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def named_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The module's trainable parameters as the dict that `wb.run(start=...)` and the curvature functions take."""
    return {name: value.detach().clone() for name, value in module.named_parameters() if value.requires_grad}
