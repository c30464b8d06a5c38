"""Maximisers of the inner problem that the paper's lower bounds need: which coordinate the adversary takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.optimizers.oracle import Oracle


@dataclass(frozen=True)
class FreshCoordinate:
    """The adversary of Theorem 3: v_t = rho e_(I,t), a position of the block I that was never used before.

    An exact maximiser on a `HiddenValley` whose block I shows +1 in every sample, for as many steps as there are positions.
    Parameters {"blocks": [block, position], "extra": 0-dim}.
    """

    block: int | Tensor
    name = "adversarial"

    def __call__(self, oracle: Oracle, parameters: Any, rho: float | Tensor) -> Any:
        blocks = parameters["blocks"]
        here = torch.arange(blocks.shape[0], device=blocks.device) == self.block
        now = torch.arange(blocks.shape[1], device=blocks.device) == oracle.step
        return {
            "blocks": torch.where(here[:, None] & now, rho, torch.zeros_like(blocks)),
            "extra": torch.zeros_like(parameters["extra"]),
        }


@dataclass(frozen=True)
class SameCoordinate(FreshCoordinate):
    """The null of `FreshCoordinate`: the first position of the block at every step."""

    name = "same coordinate"

    def __call__(self, oracle: Oracle, parameters: Any, rho: float | Tensor) -> Any:
        blocks = parameters["blocks"]
        here = torch.arange(blocks.shape[0], device=blocks.device) == self.block
        first = torch.arange(blocks.shape[1], device=blocks.device) == 0
        return {
            "blocks": torch.where(here[:, None] & first, rho, torch.zeros_like(blocks)),
            "extra": torch.zeros_like(parameters["extra"]),
        }


@dataclass(frozen=True)
class WeightedCoordinate:
    """The coordinate of largest a_ij (rho - |w_ij|) among the blocks that have one sign in the whole sample.

    With weights a that differ, this is the unique maximiser on the `HiddenValley` of these weights: no tie is left to break.
    Parameters as for `FreshCoordinate`.
    """

    signs: Float[Tensor, "sample block"]
    weights: Float[Tensor, "block position"]
    name = "tie-weighted"

    def __call__(self, oracle: Oracle, parameters: Any, rho: float | Tensor) -> Any:
        blocks, mean = parameters["blocks"], self.signs.mean(0)
        reach = self.weights * (rho - blocks.abs())
        reach = torch.where((mean.abs() == 1)[:, None], reach, -torch.inf)
        flat = reach.reshape(-1)
        best = (torch.arange(flat.shape[0], device=flat.device) == flat.argmax()).reshape(blocks.shape)
        return {
            "blocks": torch.where(best, rho * mean[:, None], torch.zeros_like(blocks)),
            "extra": torch.zeros_like(parameters["extra"]),
        }


@dataclass(frozen=True)
class ExtraCoordinate:
    """The coordinate that every sample shows, away from the origin: an equally good maximiser on the `HiddenValley` of
    Theorem 3, and a harmless one.
    """

    name = "extra"

    def __call__(self, oracle: Oracle, parameters: Any, rho: float | Tensor) -> Any:
        extra = parameters["extra"]
        return {
            "blocks": torch.zeros_like(parameters["blocks"]),
            "extra": torch.where(extra < 0, -rho, rho) * torch.ones_like(extra),
        }
