"""The convolutional networks of the benchmarks, for 8 x 8 images of one channel."""

from __future__ import annotations

import copy

import torch
from torch import nn

_CNNS = {
    "CNN of 20,500 parameters": (16, 32, nn.Identity(), nn.MaxPool2d(2), 30),
    "small CNN of 18,346 parameters": (8, 16, nn.MaxPool2d(2), nn.Identity(), 64),
}
"""Channels of two convolutions, what pools after each, and the hidden width; the small one is mostly overhead."""
CNN, SMALL_CNN = _CNNS


def cnn(name: str) -> nn.Sequential:
    """The named network, the same at every call."""
    first, second, early, late, hidden = _CNNS[name]
    torch.manual_seed(0)
    layers = (
        *(nn.Conv2d(1, first, 3, padding=1), nn.ReLU(), early),
        *(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), late),
        *(nn.Flatten(), nn.Linear(16 * second, hidden), nn.ReLU(), nn.Linear(hidden, 10)),
    )
    # Pooling layers of its own: peers hang hooks on every module.
    return nn.Sequential(*(copy.deepcopy(layer) for layer in layers if not isinstance(layer, nn.Identity)))
