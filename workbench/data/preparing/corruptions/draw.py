"""Draws of a corruption: a generator per purpose, images one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench import draws


@dataclass(frozen=True)
class Draws:
    """Random numbers of one corruption and seed; `purpose` names the draw within it."""

    seed: int
    name: str
    device: torch.device

    def generator(self, purpose: str) -> np.random.Generator:
        """The NumPy generator of this draw."""
        return draws.generator(self.seed, f"{self.name} {purpose}")

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers, float32."""
        return self._tensor(self.generator(purpose).standard_normal(shape, dtype=np.float32))

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform on [low, high), float32."""
        return low + (high - low) * self._tensor(self.generator(purpose).random(shape, dtype=np.float32))

    def integers(self, purpose: str, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform on low, ..., high."""
        return self._tensor(self.generator(purpose).integers(low, high + 1, shape))

    def poisson(self, purpose: str, rate: Tensor) -> Tensor:
        """Poisson numbers with these means."""
        return self._tensor(self.generator(purpose).poisson(rate.cpu().numpy()).astype(np.float32))

    def _tensor(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)
