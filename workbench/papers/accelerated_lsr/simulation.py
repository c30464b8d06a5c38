"""AcSGD and SGD as they run: many runs at once, on fresh samples of a design or on real regressors (arXiv:2203.01744)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from workbench import draws
from workbench.checks import require_count
from workbench.papers.accelerated_lsr.recursions import Z_WEIGHTS, recommended, standardised
from workbench.problems.linear.designs import GaussianDesign, OneHotDesign

Points = Float[np.ndarray, "... coordinate"]
Gradient = Callable[[int, Points], Points]
"""The stochastic gradients of all runs at step t, each at its own point."""


class Iterates(NamedTuple):
    """Where runs end: the last iterate and the average."""

    last: Points
    average: Points


def acsgd(gradient: Gradient, start: Points, alpha: float, beta: float, T: int, *, z_weight: str = "t+1") -> Iterates:
    """x+ = y - beta g(y), z+ = z - alpha (t+1) g(y), y = (t x + z)/(t+1); the average of y has weights t + 1.

    Leading dimensions of `start` are runs. z_weight = "1" drops the factor t + 1 of the z-step (control).
    """
    require_count("T", T)
    if z_weight not in Z_WEIGHTS:
        raise ValueError(f"z_weight must be one of {', '.join(Z_WEIGHTS)}, got {z_weight!r}")
    x, z, total = start.copy(), start.copy(), np.zeros_like(start)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T):
            y = (t * x + z) / (t + 1)
            total += (t + 1) * y
            g = gradient(t, y)
            x = y - beta * g
            z -= alpha * (t + 1 if z_weight == "t+1" else 1) * g
    return Iterates(x, total / (T * (T + 1) / 2))


def sgd(gradient: Gradient, start: Points, gamma: float, T: int) -> Iterates:
    """x+ = x - gamma g(x), and the uniform average of x_0, ..., x_{T-1}."""
    require_count("T", T)
    x, total = start.copy(), np.zeros_like(start)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T):
            total += x
            x = x - gamma * gradient(t, x)
    return Iterates(x, total / T)


def simulated_risks(
    design: GaussianDesign | OneHotDesign, start: Points, alpha: float, beta: float, T: int, runs: int, seed: int = 0
) -> xr.Dataset:
    """Excess risk of `runs` independent runs of AcSGD on fresh samples of the design (errors x - theta*, dims run)."""
    require_count("runs", runs)

    def gradient(t: int, y: Points) -> Points:
        a = design.features(seed, runs, t).numpy()
        return a * ((a * y).sum(-1) - design.residuals(seed, runs, t).numpy())[:, None]

    ends = acsgd(gradient, np.tile(np.asarray(start, dtype=np.float64), (runs, 1)), alpha, beta, T)
    return xr.Dataset({name: ("run", 0.5 * error**2 @ design.spectrum) for name, error in ends._asdict().items()})


def real_comparison(name: str, seeds: Iterable[int], T: int, *, z_weight: str = "t+1") -> xr.Dataset:
    """Excess risks of averaged AcSGD and averaged SGD (gamma = 1/(2 R2)) on a data set, from 0, on the same samples.

    Dims noise ("noiseless", "noisy") and seed. Step sizes as the theorems recommend for the data's own R2 and kappa.
    """
    seeds = list(seeds)
    both = [standardised(name, noisy=noisy) for noisy in (False, True)]
    R2, kappa = both[0].constants
    alpha, beta = recommended(R2, kappa)
    inputs = both[0].inputs.numpy()
    targets = np.stack([one.targets.numpy() for one in both])
    index = torch.stack([draws.integers(seed, len(inputs), (T,), stream="samples") for seed in seeds]).numpy()

    def gradient(t: int, point: Points) -> Points:
        a = inputs[index[:, t]]
        return a * ((a * point).sum(-1) - targets[:, index[:, t]])[..., None]

    start = np.zeros((2, len(seeds), inputs.shape[1]))
    centre = np.stack([one.minimiser.numpy() for one in both])[:, None]
    found = {}
    for method, ends in {
        "acsgd": acsgd(gradient, start, alpha, beta, T, z_weight=z_weight),
        "sgd": sgd(gradient, start, 1 / (2 * R2), T),
    }.items():
        error = ends.average - centre
        risk = 0.5 * np.einsum("nsi,ij,nsj->ns", error, both[0].hessian.numpy(), error)
        found[method] = (("noise", "seed"), risk, {"long_name": "excess risk of the average"})
    return xr.Dataset(found, coords={"noise": ["noiseless", "noisy"], "seed": seeds})
