"""Regression with a bounded loss, which forgets outliers: smooth, bounded below, not convex."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.problems.linear.models import PerSample, _LinearModel


@dataclass(frozen=True, eq=False)
class RobustRegression(_LinearModel):
    """mean r^2/(1 + r^2), r = x.w - t (the Geman-McClure loss); starts are standard normal. All losses lie in [0, 1)."""

    l2: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l2 != 0:
            raise ValueError(f"l2 must be 0, got {self.l2!r}: the constants are those of the bounded loss alone")

    def _losses(self, predictions: PerSample, targets: PerSample) -> PerSample:
        squares = (predictions - targets) ** 2
        return squares / (1 + squares)

    def _slopes(self, predictions: PerSample, targets: PerSample) -> PerSample:
        residuals = predictions - targets
        return 2 * residuals / (1 + residuals**2) ** 2

    @property
    def smoothness(self) -> Float[Tensor, ""]:
        """2 lam_max(X^T X/n), an upper bound on every Hessian: the second derivative of the loss is 2 (1 - 3r^2)/(1 + r^2)^3."""
        return 2 * torch.linalg.eigvalsh(self.inputs.mT @ self.inputs / self.n_samples)[-1]

    @property
    def sample_smoothness(self) -> PerSample:
        """L_i = 2 |x_i|^2 of every sample's loss."""
        return 2 * (self.inputs**2).sum(1)

    @property
    def sample_minima(self) -> PerSample:
        """The least value of every sample's loss: 0, unless its input is zero."""
        residuals = torch.where((self.inputs**2).sum(1) == 0, self.targets, 0.0)
        return self._losses(residuals, torch.zeros_like(residuals))
