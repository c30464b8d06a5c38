"""Exact expected risk of AcSGD and SGD on random least squares (arXiv:2203.01744), from second moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from workbench import data
from workbench.checks import require_nonnegative, require_positive
from workbench.dynamics.moments import CoordinateMoments, LinearStep, averaged
from workbench.dynamics.moments.linear_step import Output, Steps
from workbench.dynamics.moments.samples import SampleMoments
from workbench.problems.linear.designs import (
    AdditiveNoise,
    FiniteData,
    GaussianDesign,
    NoiseLaw,
    OneHotDesign,
    eigenvalues,
)

DESIGNS = {"gauss": GaussianDesign, "onehot": OneHotDesign}
"""Random features with a spectrum of one's choice, of which limit and stability are known in closed form."""
REAL_DESIGNS = ("diabetes", "breast_cancer")
"""Standardised regressors of a data set, sampled with replacement."""
Z_WEIGHTS = ("t+1", "1")
ORACLES = ("sample", "full")
Coordinates = Float[np.ndarray, " coordinate"]


class StepSizes(NamedTuple):
    """The paper's two step sizes: beta for x, alpha (t + 1) for z."""

    alpha: float
    beta: float


def recommended(R2: float, kappa: float, *, beta_R2: float = 1 / 3, alpha_ratio: float = 0.5) -> StepSizes:
    """beta = beta_R2/R2 and alpha = alpha_ratio beta/kappa; the theorems ask for alpha_ratio <= 1/2, (alpha + 2 beta) R2 <= 1.

    >>> recommended(4.0, 2.0, beta_R2=0.5)
    StepSizes(alpha=0.03125, beta=0.125)
    """
    for name, value in {"R2": R2, "kappa": kappa, "beta_R2": beta_R2, "alpha_ratio": alpha_ratio}.items():
        require_positive(name, value)
    beta = beta_R2 / R2
    return StepSizes(alpha_ratio * beta / kappa, beta)


def named_spectrum(name: str | float | list[float], d: int) -> Coordinates:
    """h of length d: "log<k>" is logspace(0, -k), "power<p>" is 1/i^p; a list stands for itself."""
    if isinstance(name, str) and name.startswith(("log", "power")):
        kind = "log" if name.startswith("log") else "power"
        try:
            number = float(name.removeprefix(kind))
        except ValueError:
            number = np.nan
        if np.isfinite(number) and number >= 0:
            return np.logspace(0, -number, d) if kind == "log" else np.arange(1.0, d + 1) ** -number
    if isinstance(name, str):
        raise ValueError(f"spectrum must be log<k>, power<p> or a list of eigenvalues > 0, got {name!r}")
    h = eigenvalues(np.atleast_1d(name))
    if h.size != d:
        raise ValueError(f"spectrum has {h.size} eigenvalues, d is {d}")
    return h


def standardised(name: str, *, noisy: bool = True) -> FiniteData:
    """A data set's regressors and target, each of mean 0 and deviation 1; without noise the targets are X theta*."""
    loaded = data.load(name, standardise="features", dtype=torch.float64)
    targets = loaded.train_targets.double()
    samples = FiniteData(loaded.train_inputs, (targets - targets.mean()) / targets.std(correction=0))
    return samples if noisy else FiniteData(samples.inputs, samples.inputs @ samples.minimiser)


def real_law(name: str, sigma2: float = 0.0) -> FiniteData:
    """A data set's regressors with its own residuals, scaled so that sigma2 is the least with E r^2 a a^T <= sigma2 H."""
    _choice("design", name, REAL_DESIGNS)
    require_nonnegative("sigma2", sigma2)
    one = standardised(name)
    best = one.inputs @ one.minimiser
    residuals = one.targets - best
    noise = (one.inputs * (residuals**2)[:, None]).mT @ one.inputs / len(residuals)
    whitened = torch.linalg.solve(torch.linalg.cholesky(one.hessian), noise)
    level = torch.linalg.eigvalsh(torch.linalg.solve(torch.linalg.cholesky(one.hessian), whitened.mT))[-1]
    return FiniteData(one.inputs, best + residuals * (sigma2 / level).sqrt())


def law(design: str, h: Coordinates | None, sigma2: float = 0.0, oracle: str = "sample") -> NoiseLaw | FiniteData:
    """The gradients' law: a fresh sample of the design a step, or exact gradients (oracle = "full").

    h: the eigenvalues of H for random features; None for a data set, which has its own.
    """
    _choice("design", design, (*DESIGNS, *REAL_DESIGNS))
    _choice("oracle", oracle, ORACLES)
    require_nonnegative("sigma2", sigma2)
    if design in REAL_DESIGNS:
        if h is not None or oracle == "full":
            raise ValueError(f"{design} has eigenvalues and samples of its own: give h = None and oracle = 'sample'")
        return real_law(design, sigma2)
    if h is None:
        raise ValueError(f"{design} features need eigenvalues h > 0")
    return AdditiveNoise(h) if oracle == "full" else DESIGNS[design](h, float(np.sqrt(sigma2)))


def acsgd_moments(
    law: NoiseLaw | FiniteData, alpha: float, beta: float, *, z_weight: str = "t+1"
) -> CoordinateMoments | SampleMoments:
    """The second moments of AcSGD's (x, z) and of its average with weights t + 1.

    y = (t x + z)/(t + 1), x+ = y - beta g(y), z+ = z - alpha (t + 1) g(y); z_weight = "1" drops the factor t + 1 (control).
    Outputs "x" (the last iterate), "parameters" (y), "average".
    """
    require_nonnegative("alpha", alpha)
    require_positive("beta", beta)
    _choice("z_weight", z_weight, Z_WEIGHTS)

    def mixing(numbers: np.ndarray) -> np.ndarray:
        return np.stack([numbers / (numbers + 1.0), 1.0 / (numbers + 1.0)], axis=-1)

    def steps(first: int, count: int) -> LinearStep:
        numbers = np.arange(first, first + count)
        point = mixing(numbers)
        carry = np.stack([point, np.broadcast_to([0.0, 1.0], point.shape)], axis=1)
        weights = numbers + 1.0 if z_weight == "t+1" else np.ones(count)
        move = np.stack([np.full(count, -beta), -alpha * weights], axis=-1)
        return LinearStep(carry, point[:, None, :], move[:, :, None])

    outputs = {"parameters": mixing, "x": np.array([1.0, 0.0])}
    longer, named = averaged(steps, outputs, lambda numbers: numbers + 1.0)
    return _moments(longer, law, np.array([1.0, 1.0, 0.0]), named)


def sgd_moments(law: NoiseLaw | FiniteData, gamma: float) -> CoordinateMoments | SampleMoments:
    """The second moments of SGD with step gamma and of its uniform average. Outputs "parameters" and "average"."""
    require_positive("gamma", gamma)
    step = LinearStep(np.eye(1), np.eye(1), np.array([[-gamma]]))
    steps, outputs = averaged(step, {"parameters": np.ones(1)}, lambda numbers: np.ones(len(numbers)))
    return _moments(steps, law, np.array([1.0, 0.0]), outputs)


def _moments(
    steps: Steps, law: NoiseLaw | FiniteData, start: np.ndarray, outputs: Mapping[str, Output]
) -> CoordinateMoments | SampleMoments:
    if isinstance(law, FiniteData):
        return SampleMoments(steps, law, start, outputs)
    return CoordinateMoments(steps, law, start, outputs)


def risks(
    method: CoordinateMoments | SampleMoments, start: Float[np.ndarray, "... coordinate"], at: Iterable[int]
) -> xr.Dataset:
    """Exact excess risk of the last iterate and of the average after the numbers of steps in `at` (dims step, start)."""
    # pyrefly: ignore[unnecessary-type-conversion]
    at = sorted(int(step) for step in at)
    last = "x" if "x" in method.outputs else "parameters"
    curves = method.risks(start, at[-1], at=at, outputs=(last, "average"))
    return curves.rename({last: "last"})


def lsq_moments(
    h: Coordinates | None,
    start: Float[np.ndarray, "... coordinate"],
    sigma2: float,
    alpha: float,
    beta: float,
    T: int,
    checkpoints: Iterable[int] | None = None,
    design: str = "gauss",
) -> xr.Dataset:
    """Exact excess risk of AcSGD's last and averaged iterate from x_0 - theta* = start, at checkpoints up to T.

    design: "gauss" or "onehot" features with eigenvalues h (start along the eigenvectors), or "diabetes", "breast_cancer"
        with h = None (start in the features).

    >>> found = lsq_moments([1.0], [1.0], 0.0, 0.01, 0.2, 1)
    >>> round(found["last"].item(), 6)  # (1 - 2 beta + 3 beta^2)/2 on one Gaussian feature
    0.36
    """
    method = acsgd_moments(law(design, None if h is None else eigenvalues(h), sigma2), alpha, beta)
    return risks(method, np.asarray(start, dtype=np.float64), [T] if checkpoints is None else checkpoints)


def _choice(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
