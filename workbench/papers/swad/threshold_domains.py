"""Learning a threshold on [0, 1] from several sources for another target: the bounds of arXiv:2102.08604 made computable.

x has a Beta density in every domain, the label is 1[x > 1/2], the model f_theta(x) = 1[x > theta], the loss the 0-1 loss. Then
the risk in a domain with distribution function F is |F(theta) - F(1/2)|, the class has VC dimension 1, and an interval
of length 1 is covered by ceil(1/gamma) balls of radius gamma/2.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.draws import Seed

TRUTH = 0.5
Shape = tuple[float, float]


class Bounds(NamedTuple):
    """How much room the two bounds leave: right side minus left side, the smallest over theta for the first theorem."""

    risk: Float[Tensor, ""]
    minimiser: Float[Tensor, ""]


@dataclass(frozen=True)
class ThresholdDomains:
    """Sources and target as parameters (a, b) of Beta densities; theta on a grid of `points`."""

    sources: tuple[Shape, ...] = ((2.0, 2.0), (2.0, 3.0), (3.0, 2.0))
    target: Shape = (2.5, 1.5)
    points: int = 2001

    @functools.cached_property
    def theta(self) -> np.ndarray:
        """The grid of thresholds on [0, 1]."""
        return np.linspace(0.0, 1.0, self.points)

    def risk(self, shape: Shape) -> np.ndarray:
        """[theta] the 0-1 risk in the domain of this Beta density."""
        distribution = stats.beta(*shape)
        return np.abs(distribution.cdf(self.theta) - distribution.cdf(TRUTH))

    @functools.cached_property
    def source_risk(self) -> np.ndarray:
        """[theta] the mean risk of the sources."""
        return np.mean([self.risk(shape) for shape in self.sources], 0)

    @functools.cached_property
    def target_risk(self) -> np.ndarray:
        """[theta] the risk in the target."""
        return self.risk(self.target)

    @functools.cached_property
    def divergence(self) -> float:
        """Mean over the sources of Div(source, target) = 2 TV = the integral of |p - q|, by the midpoint rule."""
        x = (np.arange(200_000) + 0.5) / 200_000
        target = stats.beta.pdf(x, *self.target)
        return float(np.mean([np.abs(stats.beta.pdf(x, *shape) - target).mean() for shape in self.sources]))

    @functools.cached_property
    def divergence_to_mixture(self) -> float:
        """Mean Div(source, mixture of the sources), as if the target held nothing new (a control of lemma 1)."""
        x = (np.arange(200_000) + 0.5) / 200_000
        densities = [stats.beta.pdf(x, *shape) for shape in self.sources]
        mixture = np.mean(densities, 0)
        return float(np.mean([np.abs(density - mixture).mean() for density in densities]))

    def empirical_risk(self, seed: int, n: int) -> np.ndarray:
        """[theta] the mean over the sources of the risk on n samples of each."""
        generator = draws.generator(seed, "threshold domains")
        risks = []
        for shape in self.sources:
            sample = np.sort(generator.beta(*shape, size=n))
            below = np.searchsorted(sample, self.theta, side="right") / n
            risks.append(np.abs(below - np.searchsorted(sample, TRUTH, side="right") / n))
        return np.mean(risks, 0)

    def robust(self, risk: np.ndarray, gamma: float) -> np.ndarray:
        """[theta] the largest risk within distance gamma on the grid."""
        reach = round(gamma * (self.points - 1))
        return maximum_filter1d(risk, 2 * reach + 1, mode="nearest")

    def confidence_terms(self, n: int, gamma: float, delta: float) -> tuple[float, float]:
        """The last terms of theorem 1, and of theorem 2 (two square roots), for VC dimension 1."""
        m = n * len(self.sources)
        cover = math.ceil(1 / gamma - 1e-12)
        first = math.sqrt((math.log(m) + math.log(cover / delta)) / m)
        second = math.sqrt((math.log(m) + math.log(2 * cover / delta)) / m)
        return first, second + math.sqrt((math.log(m) + math.log(2 / delta)) / m)

    def bounds(self, seed: Seed, n: int, gamma: float, delta: float = 0.1) -> Bounds:
        """The room in theorems 1 and 2 for samples of this seed, n from each source; `seed` may be vmapped."""
        require_count("n", n)
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma must be in (0, 1], got {gamma!r}")
        if not 0 < delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta!r}")
        room = _room(seed, self, n, gamma, delta)
        return Bounds(room[..., 0], room[..., 1])


@draws.seeded
def _room(seed: int, domains: ThresholdDomains, n: int, gamma: float, delta: float) -> np.ndarray:
    empirical, target = domains.empirical_risk(seed, n), domains.target_risk
    robust, divergence = domains.robust(empirical, gamma), domains.divergence
    first, second = domains.confidence_terms(n, gamma, delta)
    chosen = int(robust.argmin())
    risk = (robust + divergence / 2 + first - target).min()
    excess = target[chosen] - target.min()
    return np.array([risk, robust[chosen] - empirical.min() + divergence + second - excess])
