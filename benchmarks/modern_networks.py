"""Networks that are no chains of layers, for 8 x 8 images of one channel: residual, normalised, attentive, recurrent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class ResidualCNN(nn.Module):
    """Two convolutions with BatchNorm, the second one with a skip connection."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.head = nn.Linear(channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.first(images))
        return self.head(torch.relu(hidden + self.second(hidden)).mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider))
        self.second = nn.Sequential(nn.Conv2d(wider, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider))
        skip = nn.Sequential(nn.Conv2d(channels, wider, 1, stride, bias=False), nn.BatchNorm2d(wider))
        self.skip = skip if channels != wider else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.skip(images) + self.second(torch.relu(self.first(images))))


class SmallResNet(nn.Module):
    """A stem and three residual blocks, two of which halve the image and double the channels."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        widths = [(channels, channels, 1), (channels, 2 * channels, 2), (2 * channels, 4 * channels, 2)]
        self.blocks = nn.Sequential(*(_Block(*width) for width in widths))
        self.head = nn.Linear(4 * channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer encoder over an image's rows."""

    def __init__(self, width: int = 32, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(8, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 64, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(images[:, 0]) + self.position).mean(1))


class Recurrent(nn.Module):
    """An LSTM over an image's rows."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.lstm(images[:, 0])[0][:, -1])


class Normalised(nn.Module):
    """A perceptron with LayerNorm and a skip connection."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.LayerNorm(width), nn.Tanh())
        self.second, self.head = nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(images)
        return self.head(hidden + gelu(self.second(hidden)))


MODERN = {
    "residual CNN": ResidualCNN,
    "small ResNet": SmallResNet,
    "transformer": Encoder,
    "LSTM": Recurrent,
    "MLP with LayerNorm": Normalised,
}
