"""Random designs of least squares: the law of one sample (features a, target), what is known of its moments, and its constants.

A sample's gradient at x is a (<a, x - x*> - residual). The second moments of any linear stochastic method on it are
exact functions of E|a|^{2m} a_i^2 and E|a|^{2m} a_i^2 a_j^2 (`workbench.dynamics.moments`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_nonnegative
from workbench.draws import Seed

Spectrum = Float[np.ndarray, " coordinate"]


class Fourth(NamedTuple):
    """E |a|^{2m} a_i^2 a_j^2 = [i = j] diagonal_i + sum over factors of u_i v_j."""

    diagonal: Spectrum
    factors: tuple[tuple[Spectrum, Spectrum], ...] = ()


class FourthMomentConstants(NamedTuple):
    """The least R2 and kappa with E |a|^2 a a^T <= R2 H and E |a|^2_{H^-1} a a^T <= kappa H (kappa >= rank of H)."""

    R2: float
    kappa: float


class NoiseLaw(Protocol):
    """What exact moments need of the gradient noise of a quadratic with Hessian diag(spectrum).

    A chain of gradients of one step is a polynomial in |a|^2 (in h for noise that does not depend on the point):
    `second(m)` weighs the m-th term's mean, `fourth(m)` its products, `noise(m)` the part that does not vanish at x*.
    """

    @property
    def spectrum(self) -> Spectrum: ...

    def second(self, power: int) -> Spectrum: ...

    def fourth(self, power: int) -> Fourth: ...

    def noise(self, power: int) -> Spectrum: ...


@dataclass(frozen=True, eq=False)
class _Design:
    spectrum: Spectrum
    sigma: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "spectrum", eigenvalues(self.spectrum))
        require_nonnegative("sigma", self.sigma)

    def second(self, power: int) -> Spectrum:
        """E |a|^{2 power} a_i^2."""
        raise NotImplementedError

    def noise(self, power: int) -> Spectrum:
        """E residual^2 |a|^{2 power} a_i^2, residuals being independent of the features."""
        return self.sigma**2 * self.second(power)

    def features(self, seed: Seed, count: int, counter: int = 0) -> Float[Tensor, "sample coordinate"]:
        """Independent samples of a, along the eigenvectors of H; `counter` as in `workbench.draws`."""
        raise NotImplementedError

    def residuals(self, seed: Seed, count: int, counter: int = 0) -> Float[Tensor, " sample"]:
        """Independent Gaussian residuals of variance sigma^2."""
        return self.sigma * draws.normal(seed, (count,), stream="residuals", counter=counter)


@dataclass(frozen=True, eq=False)
class GaussianDesign(_Design):
    """a ~ N(0, H) with H = diag(spectrum), residuals of variance sigma^2.

    >>> GaussianDesign([1.0, 0.5]).constants
    FourthMomentConstants(R2=3.5, kappa=4.0)
    """

    @property
    def constants(self) -> FourthMomentConstants:
        """R2 = tr H + 2 max h, kappa = d + 2: E |a|^2 a a^T = (tr H) H + 2 H^2 by Wick's formula."""
        h = self.spectrum
        return FourthMomentConstants(float(h.sum() + 2 * h.max()), float(h.size + 2))

    def second(self, power: int) -> Spectrum:
        tilted = _tilted(self.spectrum, power)
        return sum((tilted[power - p] * (-2.0) ** p * self.spectrum ** (p + 1) for p in range(power + 1)), _zero(self))

    def fourth(self, power: int) -> Fourth:
        # E exp(-t|a|^2) a_i^2 a_j^2 = Z(t) g_i g_j (1 + 2 [i = j]) with g_i = h_i/(1 + 2 t h_i); (-d/dt)^power at t = 0.
        h, tilted = self.spectrum, _tilted(self.spectrum, power)
        factors = []
        for p in range(power + 1):
            left = (-2.0) ** p * h ** (p + 1)
            terms = (tilted[power - p - q] * (-2.0) ** q * h ** (q + 1) for q in range(power - p + 1))
            factors.append((left, sum(terms, _zero(self))))
        return Fourth(2 * sum((u * v for u, v in factors), _zero(self)), tuple(factors))

    def features(self, seed: Seed, count: int, counter: int = 0) -> Float[Tensor, "sample coordinate"]:
        normal = draws.normal(seed, (count, self.spectrum.size), stream="features", counter=counter)
        return normal * torch.from_numpy(np.sqrt(self.spectrum))


@dataclass(frozen=True, eq=False)
class OneHotDesign(_Design):
    """a = sqrt(d h_i) e_i with probability 1/d each, H = diag(spectrum), residuals of variance sigma^2.

    >>> OneHotDesign([1.0, 0.5]).constants
    FourthMomentConstants(R2=2.0, kappa=2.0)
    """

    @property
    def constants(self) -> FourthMomentConstants:
        """R2 = d max h, kappa = d."""
        h = self.spectrum
        return FourthMomentConstants(float(h.size * h.max()), float(h.size))

    def second(self, power: int) -> Spectrum:
        return self.spectrum * (self.spectrum.size * self.spectrum) ** power

    def fourth(self, power: int) -> Fourth:
        return Fourth(self.spectrum * (self.spectrum.size * self.spectrum) ** (power + 1))

    def features(self, seed: Seed, count: int, counter: int = 0) -> Float[Tensor, "sample coordinate"]:
        size = self.spectrum.size
        index = draws.integers(seed, size, (count,), stream="features", counter=counter)
        return torch.diag(torch.from_numpy(np.sqrt(size * self.spectrum)))[index]


@dataclass(frozen=True, eq=False)
class AdditiveNoise:
    """Exact gradients of a quadratic plus noise of the given variance, the same noise in all gradients of a step.

    `variance` is a number or one per coordinate; 0 means exact gradients.
    """

    spectrum: Spectrum
    variance: float | Spectrum = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "spectrum", eigenvalues(self.spectrum, positive=False))
        variance = np.broadcast_to(np.asarray(self.variance, dtype=np.float64), self.spectrum.shape)
        if not (np.isfinite(variance).all() and (variance >= 0).all()):
            raise ValueError(f"variance must be finite numbers >= 0, got {self.variance!r}")
        object.__setattr__(self, "variance", variance)

    @property
    def constants(self) -> FourthMomentConstants:
        """R2 = max h and kappa = 1: what the inequalities read for the gradient map H itself, H H <= (max h) H."""
        return FourthMomentConstants(float(self.spectrum.max()), 1.0)

    def second(self, power: int) -> Spectrum:
        return self.spectrum ** (power + 1)

    def fourth(self, power: int) -> Fourth:
        return Fourth(self.spectrum ** (power + 2))

    def noise(self, power: int) -> Spectrum:
        return self.variance * self.spectrum**power


@dataclass(frozen=True, eq=False)
class FiniteData:
    """Samples (inputs, targets) drawn with replacement, uniformly or with the given probabilities.

    x* is the shortest least-squares solution; residuals are what it leaves, and may depend on the inputs.
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    probabilities: Float[Tensor, " sample"] | None = None

    def __post_init__(self) -> None:
        inputs, targets = self.inputs.double().flatten(1), self.targets.double()
        if targets.shape != inputs.shape[:1] or not (torch.isfinite(inputs).all() and torch.isfinite(targets).all()):
            raise ValueError(
                f"inputs and targets must be finite, one target per sample, got shapes {tuple(inputs.shape)} and "
                f"{tuple(targets.shape)}"
            )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "probabilities", _shares(self.probabilities, len(inputs)))

    @property
    def constants(self) -> FourthMomentConstants:
        """R2 and kappa, see `fourth_moment_constants`."""
        return fourth_moment_constants(self.inputs, self.probabilities)

    @property
    def hessian(self) -> Float[Tensor, "feature feature"]:
        """H = E a a^T."""
        return (self.inputs * _shares(self.probabilities, len(self.inputs))[:, None]).mT @ self.inputs

    @property
    def minimiser(self) -> Float[Tensor, " feature"]:
        """x*."""
        weights = _shares(self.probabilities, len(self.inputs)).sqrt()
        return torch.linalg.lstsq(
            self.inputs * weights[:, None], (self.targets * weights)[:, None], driver="gelsd"
        ).solution[:, 0]


def fourth_moment_constants(
    inputs: Float[Tensor, "sample feature"], probabilities: Float[Tensor, " sample"] | None = None
) -> FourthMomentConstants:
    """R2 and kappa of finite data sampled with replacement (uniformly by default), exact to rounding.

    Both are top generalised eigenvalues of empirical fourth moments; directions without data are left out.
    Raises ValueError for inputs that are all zero or not finite.

    >>> fourth_moment_constants(torch.eye(4, dtype=torch.float64) * 2)
    FourthMomentConstants(R2=4.0, kappa=4.0)
    """
    x = inputs.double().flatten(1)
    if not (torch.isfinite(x).all() and (x != 0).any()):
        raise ValueError("inputs must be finite and not all zero")
    p = _shares(probabilities, len(x))
    # Whitened by the singular values of the weighted data, which lose no digits to forming H.
    _, s, v = torch.linalg.svd(x * p.sqrt()[:, None], full_matrices=False)
    kept = s > s[0] * max(x.shape) * torch.finfo(torch.float64).eps
    white = x @ v[kept].mT / s[kept]

    def top(weights: Tensor) -> float:
        return float(torch.linalg.eigvalsh((white * (p * weights)[:, None]).mT @ white)[-1])

    return FourthMomentConstants(top(x.square().sum(1)), top(white.square().sum(1)))


def eigenvalues(spectrum: Sequence[float] | np.ndarray | Tensor, *, positive: bool = True) -> Spectrum:
    """The spectrum as float64; ValueError unless it is a vector of finite numbers, > 0 unless `positive` is False."""
    h = np.array(spectrum, dtype=np.float64)
    if h.ndim != 1 or not h.size or not np.isfinite(h).all() or (positive and not (h > 0).all()):
        raise ValueError(f"spectrum must be a list of finite eigenvalues{' > 0' if positive else ''}, got {spectrum!r}")
    return h


def _shares(probabilities: Tensor | None, n: int) -> Float[Tensor, " sample"]:
    if probabilities is None:
        return torch.full((n,), 1.0 / n, dtype=torch.float64)
    p = probabilities.double()
    if p.shape != (n,) or not (p >= 0).all() or abs(float(p.sum()) - 1) > 1e-12:
        raise ValueError(f"probabilities must be {n} numbers >= 0 that sum to 1, one per sample")
    return p


def _tilted(h: Spectrum, power: int) -> list[float]:
    """Derivatives that turn E exp(-t|a|^2) = prod (1 + 2 t h_i)^-1/2 into moments of |a|^2.

    Entry q is power!/q! ... the coefficient of t^q times (-1)^power power!.
    """
    coefficients = [1.0]
    sums = [float(((-2.0 * h) ** k).sum()) for k in range(1, power + 1)]
    for q in range(1, power + 1):  # q z_q = sum_k (sum_i (-2 h_i)^k) / 2 z_{q-k}
        coefficients.append(sum(0.5 * sums[k - 1] * coefficients[q - k] for k in range(1, q + 1)) / q)
    return [(-1.0) ** power * math.factorial(power) * value for value in coefficients]


def _zero(design: _Design) -> Spectrum:
    return np.zeros_like(design.spectrum)
