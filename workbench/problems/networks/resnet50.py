"""ResNet-50 (arXiv:1512.03385), whose parameters have the names of the published ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench.checks import require_count

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each normalised, beside a short cut; the stride is in the 3x3 one."""

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        fan_out = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(fan_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, fan_out, 1, bias=False), nn.BatchNorm2d(fan_out)
        self.downsample = None
        if stride != 1 or fan_in != fan_out:
            self.downsample = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, images: Float[Tensor, "sample channel row column"]) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(images)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        hidden = self.bn3(self.conv3(hidden))
        return functional.relu(hidden + (images if self.downsample is None else self.downsample(images)))


class ResNet50(nn.Module):
    """Stages of 3, 4, 6 and 3 bottlenecks; `width=64` is the published network, others scale all widths."""

    def __init__(self, n_classes: int, *, width: int = 64, blocks: Sequence[int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        require_count("n_classes", n_classes)
        require_count("width", width)
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        fan_in = width
        for stage, number in enumerate(blocks):
            layers = []
            for block in range(number):
                layers.append(Bottleneck(fan_in, width << stage, 2 if stage and not block else 1))
                fan_in = EXPANSION * (width << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(fan_in, n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, Bottleneck):
                # Every block starts as its short cut, so that the depth is trainable while statistics are frozen.
                nn.init.zeros_(layer.bn3.weight)

    def forward(self, images: Float[Tensor, "sample 3 row column"]) -> Float[Tensor, "sample output"]:
        hidden = self.maxpool(functional.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            hidden = stage(hidden)  # type: ignore[operator]
        return self.fc(hidden.mean((2, 3)))


def load_backbone(network: ResNet50, path: str) -> None:
    """Put published weights into everything but the last layer. Only tensors are read from the file.

    Raises ValueError naming the first parameter that is missing or has another shape.
    """
    stored = torch.load(path, map_location="cpu", weights_only=True)
    own = network.state_dict()
    for name, value in own.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        found = stored.get(name) if isinstance(stored, dict) else None
        if not isinstance(found, Tensor) or found.shape != value.shape:
            shape = "missing" if not isinstance(found, Tensor) else f"of shape {tuple(found.shape)}"
            raise ValueError(f"{path}: {name} is {shape}, but the network needs {tuple(value.shape)}")
        own[name] = found
    network.load_state_dict(own)
