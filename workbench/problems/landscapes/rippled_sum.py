"""A finite sum of rippled and tilted parabolas: not convex, yet of known smoothness, minimum and PL constant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem
from workbench.problems.landscapes.rippled_parabola import RippledParabola


@dataclass(frozen=True, eq=False)
class RippledSum(Problem[Tensor]):
    """f_i(x) = a_i (x^2 + 3 sin^2 x) + c_i x with a_i > 0 of mean 1 and c_i of mean 0; the parameter is a 0-dim tensor x.

    The mean is x^2 + 3 sin^2 x, with minimum 0 at 0: not convex, PL with constant .1755 (arXiv:2503.02225's kind of test
    function). Every f_i is 8 a_i-smooth. Starts are uniform on [-10, 10].
    """

    scales: Float[Tensor, " sample"]
    slopes: Float[Tensor, " sample"]
    minimum = 0.0
    smoothness = 8.0

    def __post_init__(self) -> None:
        if self.scales.dim() != 1 or self.scales.shape != self.slopes.shape or not len(self.scales):
            shapes = tuple(self.scales.shape), tuple(self.slopes.shape)
            raise ValueError(f"scales and slopes must be vectors of one length, got {shapes[0]} and {shapes[1]}")
        room = 8 * len(self.scales) * torch.finfo(self.scales.dtype).eps
        tilt = float(self.slopes.abs().amax())
        if not (self.scales > 0).all() or abs(float(self.scales.mean()) - 1) > room:
            raise ValueError(f"scales must be > 0 and of mean 1, got {self.scales.tolist()}: divide them by their mean")
        if not abs(float(self.slopes.mean())) <= room * (1 + tilt):
            raise ValueError(f"slopes must have mean 0, got {self.slopes.tolist()}: subtract their mean")

    @property
    def data(self) -> Batch:
        return self.scales, self.slopes

    def initial(self, seed: Seed) -> Float[Tensor, ""]:
        return draws.uniform(seed, (), low=-10.0, high=10.0, stream="initial")

    def sample_loss(self, parameters: Float[Tensor, ""], *sample: Tensor) -> Float[Tensor, ""]:
        scale, slope = sample
        return scale * (parameters**2 + 3 * torch.sin(parameters) ** 2) + slope * parameters

    def batch_loss(self, parameters: Float[Tensor, ""], batch: Batch) -> Float[Tensor, ""]:
        return self.sample_loss(parameters, batch[0].mean(), batch[1].mean())

    def loss(self, parameters: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean over all samples, from which the slopes are absent exactly."""
        return parameters**2 + 3 * torch.sin(parameters) ** 2

    def gradient(self, parameters: Float[Tensor, ""], batch: Batch | None = None) -> Float[Tensor, ""]:
        full = 2 * parameters + 3 * torch.sin(2 * parameters)
        return full if batch is None else batch[0].mean() * full + batch[1].mean()

    @property
    def pl_constant(self) -> float:
        """Largest alpha with |f'|^2 >= 2 alpha f."""
        return RippledParabola(3.0).pl_constant

    @property
    def sample_smoothness(self) -> Float[Tensor, " sample"]:
        """L_i = 8 a_i."""
        return 8 * self.scales

    @property
    def sample_minima(self) -> Float[Tensor, " sample"]:
        """The least value of every sample's loss, to rounding."""
        a, c = self.scales.double().numpy()[:, None], self.slopes.double().numpy()[:, None]
        # |x| <= |c|/(2a) + 3/2 at every critical point; spacing .01 is far below the distance of two of them.
        x = np.linspace(-1, 1, 2001) * (np.abs(c) / (2 * a) + 1.5).max()
        x = np.take_along_axis(np.broadcast_to(x, (len(a), 2001)), _value(x, a, c).argmin(1)[:, None], 1)
        for _ in range(60):  # Newton; the curvature is positive at a minimum, and small where two critical points meet
            step = (a * (2 * x + 3 * np.sin(2 * x)) + c) / (a * np.maximum(2 + 6 * np.cos(2 * x), 0.1))
            x = x - np.clip(step, -0.01, 0.01)
        return torch.from_numpy(_value(x, a, c)[:, 0]).to(self.scales.dtype)


def _value(x: np.ndarray, a: np.ndarray, c: np.ndarray) -> np.ndarray:
    return a * (x**2 + 3 * np.sin(x) ** 2) + c * x


def rippled_sum(seed: Seed, n: int = 10, *, tilt: float = 1.0) -> RippledSum:
    """n samples: scales exp(N(0, 1)) over their mean, slopes normal of deviation `tilt` less their mean. float64."""
    require_count("n", n)
    require_nonnegative("tilt", tilt)
    scales = torch.exp(draws.normal(seed, (n,), stream="scales"))
    slopes = tilt * draws.normal(seed, (n,), stream="slopes")
    return RippledSum(scales / scales.mean(), slopes - math.fsum(slopes.tolist()) / n)
