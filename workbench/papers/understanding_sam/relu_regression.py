"""Twelve points fitted by a one-hidden-layer ReLU network: how simple is the fit between the points?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class ReLURegression(Problem[Tensor]):
    """f(x) = sum_k a_k relu(w_k x + b_k), parameters [3, width] = (w, b, a), loss 1/2 sum_i (f(x_i) - y_i)^2.

    The loss is a sum over the points: a minibatch's loss is rescaled to estimate it. Starts: w = +-2.5 (fair coins),
    b = 2.5 N(0, 1), a = 4 N(0, 1), as in the public code of arXiv:2206.06232.
    """

    inputs: Float[Tensor, " sample"]
    targets: Float[Tensor, " sample"]
    width: int = 100

    def __post_init__(self) -> None:
        require_count("width", self.width)

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Seed) -> Float[Tensor, "3 unit"]:
        slopes = 2.5 * draws.signs(seed, (self.width,), stream="slopes")
        numbers = draws.normal(seed, (2, self.width), stream="initial")
        return torch.stack([slopes, 2.5 * numbers[0], 4.0 * numbers[1]])

    def fit(self, parameters: Float[Tensor, "3 unit"], inputs: Float[Tensor, " point"]) -> Float[Tensor, " point"]:
        """f at the given points."""
        slopes, offsets, outputs = parameters.unbind(0)
        return torch.relu(inputs[:, None] * slopes + offsets) @ outputs

    def sample_loss(self, parameters: Float[Tensor, "3 unit"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))

    def batch_loss(self, parameters: Float[Tensor, "3 unit"], batch: Batch) -> Float[Tensor, ""]:
        inputs, targets = batch
        return 0.5 * self.n_samples * ((self.fit(parameters, inputs) - targets) ** 2).mean()

    def gradient(self, parameters: Float[Tensor, "3 unit"], batch: Batch | None = None) -> Float[Tensor, "3 unit"]:
        inputs, targets = self.data if batch is None else batch
        slopes, offsets, outputs = parameters.unbind(0)
        hidden = torch.relu(inputs[:, None] * slopes + offsets)
        residuals = (self.n_samples / inputs.shape[0]) * (hidden @ outputs - targets)
        active = (hidden > 0).to(hidden.dtype)
        moments = torch.stack([residuals * inputs, residuals]) @ active
        return torch.cat([moments * outputs, (residuals @ hidden)[None]])

    def slope_tv(self, parameters: Float[Tensor, "3 unit"], points: int = 2001) -> Float[Tensor, ""]:
        """Total variation of the fit's slope between the first and the last sample, on an even grid."""
        first, last = self.inputs[0], self.inputs[-1]
        grid = first + (last - first) * torch.linspace(0, 1, points, dtype=self.inputs.dtype)
        slopes = self.fit(parameters, grid).diff() / ((last - first) / (points - 1))
        return slopes.diff().abs().sum()

    @property
    def interpolant_slope_tv(self) -> Float[Tensor, ""]:
        """The slope's total variation of the piecewise linear interpolant: no interpolating fit has less."""
        return (self.targets.diff() / self.inputs.diff()).diff().abs().sum()

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {**super().measures, "slope_tv": Measure(self.slope_tv, "total variation of the fit's slope")}


def relu_regression(width: int = 100) -> ReLURegression:
    """The twelve points of arXiv:2206.06232's one-dimensional experiment, in float64."""
    inputs = (torch.arange(12, dtype=torch.float64) - 5.5) / 4 + 0.07
    targets = 0.345 + torch.tensor([-2, 1.5, 0, 0, 2, 1, 0, -1, 0, 1, 2, -1], dtype=torch.float64)
    return ReLURegression(inputs, targets, width)
