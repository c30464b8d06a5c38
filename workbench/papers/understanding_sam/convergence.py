"""Convergence of SAM on a test function with known constants: losses and gradients over the theorems' bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import xarray as xr

from workbench import draws
from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import sam, usam
from workbench.papers.understanding_sam.noisy_sines import NoisySines, noisy_sines
from workbench.problems import quadratic

Schedule = Literal["theorem", "constant"]
STEPS, CYCLE = 200, (1.5, 0.8, 0.3)
"""Steps of the deterministic runs; curvature, step size and radius of the 2-cycle."""


def nonconvex(
    seeds: range, horizons: Sequence[int], sizes: Sequence[int], schedule: Schedule = "theorem", *, start: int = 0
) -> xr.Dataset:
    """Stochastic SAM with step size 1/(sqrt(T) beta), radius 1/(T^(1/4) beta): one draw of the batches per seed.

    All runs share the start of seed `start`; the schedule "constant" has the step size and radius of T = 256 for every T.

    Returns: `mean_square` (seed, size, horizon) of the gradient over the run, and the theorem's `bound` (size, horizon).
    """
    sines, beta = noisy_sines(), NoisySines.smoothness
    first = sines.initial(start)

    def one(seed, size, horizon):
        gamma = (horizon if schedule == "theorem" else 256) ** -0.5 / beta
        rule = usam(gamma, (gamma / beta) ** 0.5)
        options: dict[str, Any] = {"batch_size": size, "sampling": "replacement", "start": first, "at": []}
        done = run(sines, rule, seed=seed, steps=horizon, integrate={"square": _square(sines)}, **options)
        return {"mean_square": done.integrals["square"] / (horizon * gamma)}

    found = sweep(one, static=["size", "horizon"], seed=seeds, size=list(sizes), horizon=list(horizons))
    root, gap, noise = found.horizon.astype(float) ** 0.5, float(sines.loss(first)), float(sines.noise_variance)
    return found.assign(bound=4 * beta * gap / root + 8 * noise / (found["size"] * root))


def under_pl(
    seeds: range, steps: int, sizes: Sequence[int], schedule: Schedule = "theorem", *, start: int = 0
) -> xr.Dataset:
    """Stochastic SAM with step size min((8t+4)/(3 mu (t+1)^2), 1/(2 beta)), radius sqrt(step size/beta): one draw per seed.

    Returns: `loss` (seed, size, step) at steps >= 10 and the theorem's `bound` (size, step). "constant" keeps step 1/(2 beta).
    """
    sines, beta, mu = noisy_sines(), NoisySines.smoothness, NoisySines.pl_constant
    first = sines.initial(start)

    def gamma(t):
        falling = (8 * t + 4) / (3 * mu * (t + 1) ** 2) if schedule == "theorem" else torch.full_like(t, 1.0)
        return falling.clamp(max=1 / (2 * beta))

    def one(seed, size):
        rule = usam(gamma, lambda t: torch.sqrt(gamma(t) / beta))
        options: dict[str, Any] = {"batch_size": size, "sampling": "replacement", "start": first, "at": "log"}
        loss = run(sines, rule, seed=seed, steps=steps, record=["train_loss"], **options).records["train_loss"]
        return {"loss": Labelled(loss.value, ("step",), {"step": loss.coords["step"]})}

    found = sweep(one, static=["size"], seed=seeds, size=list(sizes)).sel(step=slice(10, None))
    gap, noise = float(sines.loss(first)), float(sines.noise_variance)
    bound = 3 * (beta / mu) ** 2 * gap / found.step**2 + 22 * beta * noise / (mu**2 * found["size"] * found.step)
    return found.assign(bound=bound)


def deterministic(seeds: range, understated: float = 1.0) -> xr.Dataset:
    """SAM without noise at random step sizes < 1/beta and radii < 1/beta: gradients and losses over their bounds (seed).

    `understated` < 1 multiplies beta wherever it is used, so that the rules leave the theorem's range.
    """
    sines, mu, beta = noisy_sines(), NoisySines.pl_constant, understated * NoisySines.smoothness

    def one(seed):
        gamma, rho = (draws.uniform(seed, (2,), low=0.02, high=0.98, stream="rule") / beta).unbind()
        keep = 1 - (rho * beta) ** 2
        options: dict[str, Any] = {"record": ["train_loss"], "every": 1, "integrate": {"square": _square(sines)}}
        done = run(sines, usam(gamma, rho), seed=seed, steps=STEPS, **options)
        loss, rate = done.records["train_loss"].value, (1 - gamma * mu * keep) ** torch.arange(STEPS + 1)
        bounded = done.integrals["square"] * keep / (2 * loss[0])
        return {"gradient": _or_infinite(bounded), "rate": _or_infinite((loss / (rate * loss[0]))[1:].amax())}

    return sweep(one, seed=seeds)


def alignment(seeds: range, understated: float = 1.0) -> xr.Dataset:
    """<g(w + rho g), g>/|g|^2 - (1 - rho beta) at random w, rho beta = .1, .5, .99: `excess` (seed, share)."""
    sines, beta = noisy_sines(), understated * NoisySines.smoothness

    def one(seed, share):
        w = sines.initial(seed)
        gradient = sines.gradient(w)
        displaced = sines.gradient(w + share / beta * gradient)
        return {"excess": (displaced * gradient).sum() / (gradient**2).sum() - (1 - share)}

    return sweep(one, seed=seeds, share=[0.1, 0.5, 0.99])


def two_cycle(displaced: bool = True, steps: int = 400) -> float:
    """Relative error of |w| = eta lam rho/(2 - eta lam) after normalised SAM on (lam/2) w^2, in units of `steps` eps."""
    lam, eta, rho = CYCLE
    start = torch.ones(1, dtype=torch.float64)
    end = run(quadratic([lam]), sam(eta, rho if displaced else 0.0), start=start, steps=steps, at=[]).parameters
    expected = eta * lam * rho / (2 - eta * lam)
    return abs(float(end.abs()) / expected - 1) / (steps * torch.finfo(torch.float64).eps)


def _square(sines: NoisySines):
    return lambda w: (sines.gradient(w) ** 2).sum()


def _or_infinite(value: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isfinite(value), value, torch.inf)
